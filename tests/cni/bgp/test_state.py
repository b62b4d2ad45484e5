"""Sessions out of what bird says, and how they are printed."""

from ipaddress import ip_address

import pytest

from cni.bgp.cli import describe_sessions
from cni.bgp.control import BirdError, Reply, ReplyReader
from cni.bgp.password_failures import parse_netstat
from cni.bgp.state import Session, parse_sessions

PROTOCOLS = b"""\
2002-Name       Proto      Table      State  Since         Info
1002-kernel4    Kernel     master4    up     1795263771.806  \n\
1006-  Channel ipv4
     Routes:         0 imported, 0 exported, 0 preferred
 \n\
1002-node_0480a93d2e9b_4 BGP        ---        up     1795264071.500  Established   \n\
1006-  Description:    client n2
       BGP state:          Established
         Neighbor address: 10.0.0.2
         Neighbor AS:      64512
         Source address:   10.0.0.1
         Hold timer:       57.1/90
       Channel ipv4
         State:          UP
         Routes:         3 imported, 1 filtered, 2 exported, 3 preferred
         Route change stats:     received   rejected   filtered    ignored   accepted
           Import updates:              3          0          0          0          3
 \n\
1002-peer_fadca5265a0c_6 BGP        ---        start  1795263771.806  Active        Socket: Connection closed
1006-  Description:    peer tor-a
       BGP state:          Active
         Neighbor address: fd00::fe
         Neighbor AS:      65001
         Last error:       Socket: Connection closed
       Channel ipv6
         State:          DOWN
 \n\
1002-theirs     BGP        ---        down   1795263771.806  \n\
1006-  Neighbor address: 10.0.0.9
 \n\
0000 \n\
"""
BFD = b"""\
1020-bfd1:
1020-IP address                Interface  State      Since         Interval  Timeout
1020-10.0.0.2                  ---        Up         1795263771.807    0.300    0.900
1020-fd00::99                  ---        Down       1795263771.807    1.000    0.000
0000 \n\
"""
NO_BFD = b"9001 There is no BFD protocol running\n"
CLIENT = Session(
    name="n2",
    role="client",
    protocol="node_0480a93d2e9b_4",
    address=ip_address("10.0.0.2"),
    as_number=64512,
    state="Established",
    since_s=1795264071.5,
    imported=3,
    exported=2,
    bfd="Up",
)
PEER = Session(
    name="tor-a",
    role="peer",
    protocol="peer_fadca5265a0c_6",
    address=ip_address("fd00::fe"),
    as_number=65001,
    state="Active",
    since_s=1795263771.806,
    last_error="Socket: Connection closed",
)


def reply(data: bytes) -> Reply:
    [found] = ReplyReader().feed(data)
    return found


def test_sessions() -> None:
    """Our sessions, with BFD where there is any; other protocols, and others' sessions, are left out."""
    assert parse_sessions([reply(PROTOCOLS), reply(BFD)]) == [CLIENT, PEER]


def test_refusal_is_an_error() -> None:
    """A bird that does not say is told."""
    with pytest.raises(BirdError, match=r"^bird: Access denied$"):
        parse_sessions([reply(b"8007 Access denied\n"), reply(NO_BFD)])


def test_rows() -> None:
    """An established session has an uptime, another one a reason."""
    assert describe_sessions([CLIENT, PEER], 0, 1795264171.6) == [
        {
            "peer": "n2",
            "role": "client",
            "address": "10.0.0.2",
            "as": 64512,
            "state": "Established",
            "uptime_s": 100,
            "imported": 3,
            "exported": 2,
            "bfd": "Up",
            "problem": "",
        },
        {
            "peer": "tor-a",
            "role": "peer",
            "address": "fd00::fe",
            "as": 65001,
            "state": "Active",
            "uptime_s": 0,
            "imported": 0,
            "exported": 0,
            "bfd": "",
            "problem": "Socket: Connection closed",
        },
    ]


@pytest.mark.parametrize(
    ("failures", "last_error", "problem"),
    [
        pytest.param(
            0, "", "no answer yet (if it is the password, the other end says so)", id="nothing known"
        ),
        pytest.param(7, "", "7 segments with a wrong or missing password came to this node", id="password"),
        pytest.param(
            7,
            "Socket: Connection closed",
            "Socket: Connection closed; 7 segments with a wrong or missing password came to this node",
            id="both",
        ),
    ],
)
def test_problem(failures: int, last_error: str, problem: str) -> None:
    """What keeps a session down, as far as it can be known."""
    session = Session(
        name="n2", role="node", protocol="x", address=ip_address("10.0.0.2"), as_number=1,
        state="Connect", since_s=0.0, last_error=last_error,
    )  # fmt: skip
    [row] = describe_sessions([session], failures, 10.0)
    assert row["problem"] == problem


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param("", 0, id="nothing"),
        pytest.param("TcpExt: SyncookiesSent\nTcpExt: 4\n", 0, id="an old kernel"),
        pytest.param(
            "TcpExt: TCPMD5NotFound X TCPMD5Unexpected TCPMD5Failure\nTcpExt: 1 100 2 3\nIp: A\nIp: 9\n",
            6,
            id="all three",
        ),
    ],
)
def test_password_failures(text: str, count: int) -> None:
    """The kernel's three counters, added up."""
    assert parse_netstat(text) == count
