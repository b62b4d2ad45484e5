"""The kernel's list of real servers is read as netlink would say it."""

from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.datapath.ipvs.listing import Servers, decode_listing
from nodeplane.datapath.ipvs.service import Method, RealServer, ServerKey, ServerUse, ServiceKey
from nodeplane.datapath.nft.expr import Family
from nodeplane.errors import KernelError

HEAD = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
"""
# As Linux 6.1 wrote it.
LIST = HEAD + (
    "TCP  0A600001:0050 wrr persistent 10800 FFFFFFFF\n"
    "  -> 0AF40102:1F90      Masq    3      2          5         \n"
    "  -> 0AF40103:1F90      Route   0      0          0         \n"
    "SCTP  0A600002:0F1C mh \n"
    "UDP  [fd00:0096:0000:0000:0000:0000:0000:0001]:0035 rr \n"
    "  -> [fd00:0244:0000:0000:0000:0000:0000:0002]:1F75      Masq    256    0          1         \n"
    "FWM  06E40007 rr \n"
    "  -> [fd00:0244:0000:0000:0000:0000:0000:0002]:1F75      Masq    1      0          0         \n"
    "FWM  06E40007 rr persistent 60 FFFFFFFF\n"
    "  -> 0AF40102:1F90      Tunnel  1      0          0         \n"
    "FWM  06E40008 rr \n"
)
POD, MATE = (ServerKey(ip_address(text).packed, 8080) for text in ("10.244.1.2", "10.244.1.3"))
POD_6 = ServerKey(ip_address("fd00:244::2").packed, 8053)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        pytest.param(
            "ip",
            {
                ServiceKey("ip", 6, ip_address("10.96.0.1").packed, 80): {
                    POD: ServerUse(RealServer(3), 2, 5),
                    MATE: ServerUse(RealServer(0, Method.ROUTE)),
                },
                ServiceKey("ip", 132, ip_address("10.96.0.2").packed, 3868): {},
                ServiceKey("ip", mark=0x06E40007): {POD: ServerUse(RealServer(1, Method.TUNNEL))},
            },
            id="IPv4",
        ),
        pytest.param(
            "ip6",
            {
                ServiceKey("ip6", 17, ip_address("fd00:96::1").packed, 53): {
                    POD_6: ServerUse(RealServer(256), 0, 1)
                },
                ServiceKey("ip6", mark=0x06E40007): {POD_6: ServerUse(RealServer(1))},
            },
            id="IPv6",
        ),
    ],
)
def test_list(family: Family, expected: Servers) -> None:
    assert decode_listing(LIST, family) == expected


@pytest.mark.parametrize("text", ["", HEAD], ids=["nothing", "the head alone"])
def test_empty(text: str) -> None:
    assert decode_listing(text, "ip") == {}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("", id="empty"),
        pytest.param("TCP", id="short"),
        pytest.param("TCP  0A6001:0050 rr", id="no address"),
        pytest.param("TCP  0A600001:wide rr", id="no port"),
        pytest.param("DCCP  0A600001:0050 rr", id="no protocol"),
        pytest.param("FWM  web rr", id="no mark"),
        pytest.param("  -> 0AF40102:1F90      Masq    3", id="short server"),
        pytest.param("  -> 0AF40102:1F90      Bridge  3      2          5", id="no method"),
        pytest.param("  -> 0AF40102:1F90      Masq    x      2          5", id="no weight"),
    ],
)
def test_another_list(line: str) -> None:
    """What this is not made for is said, and not read as something else."""
    text = HEAD + "TCP  0A600009:0050 rr \n" + line + "\n"

    with pytest.raises(KernelError, match=r"^list all real servers: line 5: .*\(EBADMSG\)$"):
        decode_listing(text, "ip")


@given(st.text(), st.integers(0, len(LIST)))
@settings(deadline=None, max_examples=100)
def test_garbage(noise: str, place: int) -> None:
    with suppress(KernelError):
        decode_listing(LIST[:place] + noise + LIST[place:], "ip")
