"""From whom routes were learned, out of bird's own words."""

from ipaddress import ip_address, ip_network

from cni.bgp.control import Reply
from cni.bgp.learned import name_states, parse_learned
from cni.bgp.state import Session

LINES = """\
Table master4:
10.244.4.0/26        unicast [node_a_4 16:16:03.229 from 10.0.0.1] * (100) [i]
\tvia 10.0.0.4 on eth0
                     unicast [node_b_4 16:16:03.250 from 10.0.0.2] (100) [i]
\tvia 10.0.0.4 on eth0
0.0.0.0/0            unicast [peer_c_4 1795263771.806] * (100) [AS65001i]
\tvia 10.0.0.8 on eth0
\tvia 10.1.0.8 on eth1 weight 1
10.244.9.0/26        unreachable [node_a_4 16:16:03.229 from 10.0.0.1] * (100/-) [i]

Table master6:
fd00:10:244::4:0:0/122 unicast [node_a_6 16:16:03.250 from fd00::1] * (100) [i]
\tvia fd00::4 on eth0
"""
REPLY = Reply((*((1007, line) for line in LINES.splitlines()), (0, "")))
FOUR, SIX, ALL = ip_network("10.244.4.0/26"), ip_network("fd00:10:244::4:0:0/122"), ip_network("0.0.0.0/0")
FIRST, SECOND = ip_address("10.0.0.8"), ip_address("10.1.0.8")


def session(protocol: str, state: str) -> Session:
    return Session(
        name="x", role="node", protocol=protocol, address=FIRST, as_number=1, state=state, since_s=0.0
    )


def test_reflected_and_equal_paths() -> None:
    learned = parse_learned(REPLY)

    assert learned == {
        (FOUR, ip_address("10.0.0.4")): {"node_a_4", "node_b_4"},
        (ALL, FIRST): {"peer_c_4"},
        (ALL, SECOND): {"peer_c_4"},
        (SIX, ip_address("fd00::4")): {"node_a_6"},
    }
    states = name_states(learned, (session("node_a_4", "Established"), session("node_b_4", "Connect")))
    assert states[FOUR, ip_address("10.0.0.4")] == {"Established", "Connect"}
    assert states[ALL, FIRST] == frozenset()


def test_a_refusal_is_nothing() -> None:
    assert parse_learned(Reply(((9001, "syntax error"),))) == {}
