"""Server cookies: what RFC 7873 and RFC 9018 section 4.3 say of each that may come."""

from ipaddress import ip_address

import pytest

from coredns_lite.wire.cookie import CookieJar
from coredns_lite.wire.query import MessageFormatError

NOW_S = 1_700_000_000
JAR = CookieJar(bytes(range(16)))
CLIENT = b"\1\2\3\4\5\6\7\x08"
ADDRESS = ip_address("10.0.0.1")


def given(age_s: int, jar: CookieJar = JAR, address: str = "10.0.0.1") -> bytes:
    """Return the option that a client was given some time ago."""
    return jar.answer(CLIENT, ip_address(address), NOW_S - age_s)[0]


@pytest.mark.parametrize(
    ("option", "is_good", "is_kept"),
    [
        pytest.param(CLIENT, False, False, id="no server cookie yet"),
        pytest.param(given(0), True, True, id="fresh"),
        pytest.param(given(1800), True, True, id="half an hour"),
        pytest.param(given(1801), True, False, id="good, to be replaced"),
        pytest.param(given(3600), True, False, id="an hour"),
        pytest.param(given(3601), False, False, id="too old"),
        pytest.param(given(-300), True, True, id="of a clock that is ahead"),
        pytest.param(given(-301), False, False, id="of the future"),
        pytest.param(given(0, address="10.0.0.2"), False, False, id="of another address"),
        pytest.param(given(0, address="fd00::1"), False, False, id="of IPv6"),
        pytest.param(given(0, CookieJar(bytes(16))), False, False, id="of another secret"),
        pytest.param(b"x" + given(0)[1:], False, False, id="of another client"),
        pytest.param(given(0)[:8] + b"\2" + given(0)[9:], False, False, id="another version"),
        pytest.param(CLIENT + bytes(8), False, False, id="shortest of another server"),
        pytest.param(CLIENT + bytes(32), False, False, id="longest of another server"),
    ],
)
def test_cookies(option: bytes, is_good: bool, is_kept: bool) -> None:
    """A good one comes back, young ones unchanged; each other is answered with one that is good."""
    answer, found = JAR.answer(option, ADDRESS, NOW_S)

    assert (found, answer == option) == (is_good, is_kept)
    assert answer[:8] == option[:8]
    assert JAR.answer(answer, ADDRESS, NOW_S) == (answer, True)


@pytest.mark.parametrize("size", [0, 7, 9, 15, 41])
def test_lengths_that_are_none(size: int) -> None:
    with pytest.raises(MessageFormatError):
        JAR.answer(bytes(size), ADDRESS, NOW_S)


def test_time_wraps() -> None:
    """The field has 32 bits, which end in 2106."""
    before = 2**32 - 10
    option, _ = JAR.answer(CLIENT, ADDRESS, before)

    assert JAR.answer(option, ADDRESS, before + 20) == (option, True)
