"""Which lines of a resolv.conf a CNI result has a place for."""

from pathlib import Path

import pytest

from ipam.resolv_conf import decode_resolv_conf, read_resolv_conf
from nodeplane.cniresult import Dns
from nodeplane.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", Dns(), id="empty"),
        pytest.param(
            "nameserver 192.0.2.1\nnameserver 2001:db8::1\ndomain example.org\nsearch a.example b.example\n"
            "options ndots:5 edns0\noptions rotate\n",
            Dns(
                ("192.0.2.1", "2001:db8::1"),
                "example.org",
                ("a.example", "b.example"),
                ("ndots:5", "edns0", "rotate"),
            ),
            id="all",
        ),
        pytest.param(
            "# nameserver 1\n;search a\n  nameserver\t192.0.2.1 # ours\nsortlist 1\nsearch\nnonsense",
            Dns(("192.0.2.1",)),
            id="comments, blanks and what is not ours",
        ),
        pytest.param("search a\nsearch b c\n", Dns(search=("b", "c")), id="the last search counts"),
    ],
)
def test_decode(text: str, expected: Dns) -> None:
    assert decode_resolv_conf(text) == expected


def test_read(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_bytes(b"nameserver 192.0.2.1\n# \xff\n")

    assert read_resolv_conf(f"{tmp_path}/resolv.conf", "ipam.resolvConf") == Dns(("192.0.2.1",))
    with pytest.raises(ConfigError) as caught:
        read_resolv_conf(f"{tmp_path}/none", "ipam.resolvConf")
    assert str(caught.value) == (
        "network configuration: ipam.resolvConf: expected a readable file: No such file or directory, "
        f"got '{tmp_path}/none'"
    )
