"""DNS cookies (RFC 7873), server side: a client that shows the cookie it was given is where it says it is.

A server cookie is laid out as in RFC 9018 section 4.3, and any of our processes with the same secret takes
it:

    | version 1 | reserved 3 | time given 4 | hash 8 |    hash of client cookie, first 8 bytes, address

The hash is keyed BLAKE2s rather than RFC 9018's SipHash-2-4, which Python's library does not offer: nobody
but the server that gave a cookie ever checks it.
"""

import hashlib
import hmac
import struct
from ipaddress import IPv4Address, IPv6Address

from coredns_lite.wire.query import MessageFormatError

COOKIE = 10
"""The option's code."""
SECRET_BYTES = 16

CLIENT_COOKIE_BYTES = 8
_MIN_SERVER_BYTES, _MAX_SERVER_BYTES = 8, 32
_HASH_BYTES = 8
_PREFIX = struct.Struct("!B3xI")
_VERSION = 1
# RFC 9018 section 4.3: good for an hour, replaced after half of it, and clocks may be five minutes apart.
_LIFETIME_S, _RENEWAL_S, _SKEW_S = 3600, 1800, 300


class CookieJar:
    """Gives and checks the cookies of one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def answer(self, option: bytes, address: IPv4Address | IPv6Address, now_s: int) -> tuple[bytes, bool]:
        """Return the option to send back, and whether the one that came has a good server cookie.

        Raises:
            MessageFormatError: the option has neither cookie's length (RFC 7873 section 5.2.2).
        """
        client, server = option[:CLIENT_COOKIE_BYTES], option[CLIENT_COOKIE_BYTES:]
        if len(client) < CLIENT_COOKIE_BYTES or not (
            not server or _MIN_SERVER_BYTES <= len(server) <= _MAX_SERVER_BYTES
        ):
            raise MessageFormatError("expected a cookie of 8, or 16 to 40 bytes")
        age_s = self._age_s(client, server, address, now_s)
        if age_s is not None and age_s <= _RENEWAL_S:
            return option, True
        prefix = _PREFIX.pack(_VERSION, now_s & 0xFFFFFFFF)
        return client + prefix + self._hash(client, prefix, address), age_s is not None

    def _age_s(
        self, client: bytes, server: bytes, address: IPv4Address | IPv6Address, now_s: int
    ) -> int | None:
        """Return how long ago we gave a server cookie to this client; None if we did not, or too long ago."""
        if len(server) != _PREFIX.size + _HASH_BYTES:
            return None
        prefix, given = server[: _PREFIX.size], server[_PREFIX.size :]
        version, time_s = _PREFIX.unpack(prefix)
        # Serial number arithmetic (RFC 1982), since the field has 32 bits.
        age_s = ((now_s - time_s + 0x80000000) & 0xFFFFFFFF) - 0x80000000
        if version != _VERSION or not -_SKEW_S <= age_s <= _LIFETIME_S:
            return None
        return age_s if hmac.compare_digest(given, self._hash(client, prefix, address)) else None

    def _hash(self, client: bytes, prefix: bytes, address: IPv4Address | IPv6Address) -> bytes:
        made = hashlib.blake2s(client + prefix + address.packed, digest_size=_HASH_BYTES, key=self._secret)
        return made.digest()
