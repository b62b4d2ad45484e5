"""Certificates are made once, and again when they would be of no use."""

import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from netns_lab.apiserver import certificates
from netns_lab.apiserver.certificates import CertificateFiles, ensure_certificates, write_private

ADDRESSES = ("127.0.0.1", "fd00::1")
FILES = ("ca.crt", "server.crt", "server.key")


def contents(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in FILES}


def serves(files: CertificateFiles) -> bool:
    """Say whether a client that knows the authority, and no other, can talk to a server with the key."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    client = ssl.create_default_context(cafile=str(files.ca))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0].version() is not None


def test_made_once(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path, ADDRESSES)
    before = contents(tmp_path)

    assert ensure_certificates(tmp_path, ADDRESSES) == files
    assert contents(tmp_path) == before
    assert serves(files)
    assert files.key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("addresses", "is_kept"),
    [
        pytest.param(("127.0.0.1",), True, id="fewer"),
        pytest.param(("fd00:0:0::1", "127.0.0.1"), True, id="written in another way"),
        pytest.param((*ADDRESSES, "192.0.2.1"), False, id="another"),
    ],
)
def test_kept_while_they_name_the_addresses(
    tmp_path: Path, addresses: tuple[str, ...], is_kept: bool
) -> None:
    ensure_certificates(tmp_path, ADDRESSES)
    before = contents(tmp_path)
    files = ensure_certificates(tmp_path, addresses)

    assert (contents(tmp_path) == before) is is_kept
    assert serves(files)


@pytest.mark.parametrize(
    ("left", "is_kept"),
    [
        pytest.param(timedelta(days=1), True, id="in date"),
        pytest.param(timedelta(minutes=30), False, id="about to expire"),
        pytest.param(timedelta(minutes=-30), False, id="expired"),
    ],
)
def test_kept_while_they_are_in_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: timedelta, is_kept: bool
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(certificates, "_VALID", left)
        ensure_certificates(tmp_path, ADDRESSES)
    before = contents(tmp_path)
    files = ensure_certificates(tmp_path, ADDRESSES)

    known = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    assert (contents(tmp_path) == before) is is_kept
    assert known.not_valid_after_utc > datetime.now(UTC)


def without(name: str) -> Callable[[Path, Path], None]:
    return lambda directory, _: (directory / name).unlink()


def of_an_earlier_start(name: str) -> Callable[[Path, Path], None]:
    return lambda directory, earlier: write_private(directory / name, (earlier / name).read_bytes())


def garbage(name: str) -> Callable[[Path, Path], None]:
    return lambda directory, _: write_private(directory / name, b"-----BEGIN")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [without, of_an_earlier_start, garbage])
def test_files_that_do_not_belong_together_are_replaced(
    tmp_path: Path, damage: Callable[[str], Callable[[Path, Path], None]], name: str
) -> None:
    """As a server leaves them that was killed while it made them, or whoever copied some of them."""
    now, earlier = tmp_path / "now", tmp_path / "earlier"
    for directory in (earlier, now):
        directory.mkdir()
        ensure_certificates(directory, ADDRESSES)
    before = contents(now)
    damage(name)(now, earlier)
    files = ensure_certificates(now, ADDRESSES)

    assert serves(files)
    assert all(contents(now)[file] != before[file] for file in FILES)


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    """Whatever was there, and whatever a killed server left beside it."""
    path = tmp_path / "token"
    path.write_text("older and longer")
    os.chmod(path, 0o644)
    (tmp_path / ".token.new").write_text("half")
    write_private(path, b"new")

    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == ["token"]
