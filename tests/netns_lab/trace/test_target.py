"""What may be traced."""

import pytest

from netns_lab.trace.target import Target, parse_target
from nodeplane.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "target", "again"),
    [
        pytest.param("http://web", Target("tcp", "web", 80, "/"), "http://web:80/", id="URL"),
        pytest.param(
            "http://[fd00::1]:8080/a?b=c",
            Target("tcp", "fd00::1", 8080, "/a?b=c"),
            "http://[fd00::1]:8080/a?b=c",
            id="URL with everything",
        ),
        pytest.param("https://web/", Target("tcp", "web", 443), "tcp:web:443", id="TLS is TCP"),
        pytest.param("udp:10.96.0.10:53", Target("udp", "10.96.0.10", 53), "udp:10.96.0.10:53", id="UDP"),
        pytest.param("TCP:[fd00:0::1]:80", Target("tcp", "fd00::1", 80), "tcp:[fd00::1]:80", id="IPv6"),
    ],
)
def test_parse(text: str, target: Target, again: str) -> None:
    assert parse_target(text) == target
    assert str(target) == again


@pytest.mark.parametrize(
    "text",
    ["", "web", "web:80", "tcp:web", "tcp:web:0", "tcp:web:65536", "tcp:web:x", "icmp:web:1", "tcp::80",
     "tcp:fd00::1:80", "tcp:[web]:80", "ftp://web/", "http:///x", "http://web:99999/", "http://web/a b",
     "http://[fd00::1/", "http://wäb/", "http://w\0b/", "tcp:w\0b:80", "http://web:0/", "http://me:secret@web/",
     "tcp:web:+80", "tcp:web:8_0", "tcp:web:٣"],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected a URL \(http://web/\) or PROTO:HOST:PORT"):
        parse_target(text)
