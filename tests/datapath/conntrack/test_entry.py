"""Whole entries of the connection tracking table, read back from the kernel."""

import socket
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.datapath import netlink as nl
from nodeplane.datapath import netns
from nodeplane.datapath.conntrack.entry import Ends, Entry, decode_entries, read_entries
from nodeplane.datapath.conntrack.flow import TCP, UDP
from tests.netns_fixture import namespace, run_in

_RULES = """table ip t {
  chain out { type nat hook output priority -100; ip daddr 127.0.0.2 dnat to 127.0.0.1
  }
  chain post { type nat hook postrouting priority 100; ct status dnat snat to 127.0.0.3
  }
}
"""


@pytest.mark.netns
def test_a_translated_connection() -> None:
    with namespace() as ns:
        assert run_in(ns, "nft", "-f", "-", stdin=_RULES).returncode == 0
        with netns.inside(ns):
            server, client = socket.socket(), socket.socket()
        with server, client:
            client.settimeout(30)
            server.bind(("127.0.0.1", 0))
            server.listen()
            port = server.getsockname()[1]
            client.connect(("127.0.0.2", port))
            own = client.getsockname()
            with netns.inside(ns):
                entries, others = read_entries("ip", TCP), read_entries("ip", UDP)

    mask, away = map(ip_address, ("127.0.0.3", "127.0.0.2"))
    sent = Ends(ip_address(own[0]), own[1], away, port)
    assert others == []
    assert [(entry.original, entry.state, entry.is_answered) for entry in entries] == [
        (sent, "ESTABLISHED", True)
    ]
    assert (entries[0].reply.origin, entries[0].reply.destination) == (f"127.0.0.1:{port}", mask)
    assert str(entries[0]).startswith(f"{own[0]}:{own[1]} > 127.0.0.2:{port}, answers 127.0.0.1:{port} > ")


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_garbage(data: bytes) -> None:
    datagram = nl.request(1 << 8, 0, 0, nl.NFGEN.pack(2, 0, 0) + data)

    assert all(isinstance(entry, Entry) for entry in decode_entries(datagram, TCP))


def test_ends_in_words() -> None:
    ends = Ends(ip_address("fd00::1"), 1, ip_address("fd00::2"), 2)

    assert (str(ends), str(ends.reversed)) == ("[fd00::1]:1 > [fd00::2]:2", "[fd00::2]:2 > [fd00::1]:1")
