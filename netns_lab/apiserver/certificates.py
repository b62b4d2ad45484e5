"""The server's own authority and certificate: made once in its directory, then kept while they are of use.

A certificate that expires, or does not name an address of the server, is replaced together with its
authority, whose key nobody keeps: clients then need the new `ca.crt` or kubeconfig.
"""

import ipaddress
import os
from collections.abc import Sequence, Set
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID = timedelta(days=3650)
# A client whose clock is behind ours takes the certificate too.
_CLOCK_SKEW = timedelta(hours=1)
_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


class CertificateFiles(msgspec.Struct, frozen=True):
    """Where they are, as PEM files."""

    ca: Path
    certificate: Path
    key: Path


def ensure_certificates(directory: Path, addresses: Sequence[str]) -> CertificateFiles:
    """Make an authority and a server certificate for `addresses`, unless those that are there will do."""
    files = CertificateFiles(directory / "ca.crt", directory / "server.crt", directory / "server.key")
    if _are_of_use(files, {ipaddress.ip_address(address) for address in addresses}):
        return files
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _authority(ca_key)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _server_certificate(key, ca, ca_key, addresses)
    # The authority's key is not kept: it has nothing more to sign.
    write_private(files.key, _key_pem(key))
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    return files


def write_private(path: Path, content: bytes) -> None:
    """Write a file that nobody else may read, not for a moment; whole, or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)


def _are_of_use(files: CertificateFiles, addresses: Set[IPv4Address | IPv6Address]) -> bool:
    """Say whether the files are there, belong together, name all addresses and are in date."""
    if not all(path.exists() for path in (files.ca, files.certificate, files.key)):
        return False
    try:
        ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
        known = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
        names = known.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        # A server that was killed while it made them leaves some of the old and some of the new.
        known.verify_directly_issued_by(ca)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.ExtensionNotFound):
        return False
    soon = datetime.now(UTC) + _CLOCK_SKEW
    return (
        known.public_key() == key.public_key()
        and addresses <= set(names.get_values_for_type(x509.IPAddress))
        and min(known.not_valid_after_utc, ca.not_valid_after_utc) > soon
    )


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("netns-lab-ca")
    usage = _key_usage(signs_certificates=True)
    return (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _server_certificate(
    key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    addresses: Sequence[str],
) -> x509.Certificate:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in _NAMES]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in dict.fromkeys(addresses)]
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return (
        _builder(_name("kube-apiserver"), ca.subject, key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(authority, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _VALID)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
