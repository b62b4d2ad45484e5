"""Other tables, whatever is in them, neither slow nor stop us, and the administrator's tools go on."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.proxier import Proxier
from kubeproxy.rules.addresses import FAMILIES
from kubeproxy.rules.layout import TABLE
from nodeplane.datapath import netns
from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.nft.transaction import Request, encode_batch
from nodeplane.kube.objects import Object
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.matrix.shapes import SERVICE_CIDRS, SHAPES, build_service, build_slices
from tests.kubeproxy.objects import additions, endpoint, endpoint_slice, service, service_cidr
from tests.netns_fixture import eventually, namespace, run_in

pytestmark = pytest.mark.netns

WEB = service("web", "10.96.0.1", "fd00:96::1", session_affinity="ClientIP")
WEB_SLICE = endpoint_slice(endpoint("10.244.0.1"), endpoint("10.244.0.2", node="n2"))
GROWN = endpoint_slice(*WEB_SLICE.endpoints, endpoint("10.244.0.3"))

ODD_CONTENT = """
table ip odd {
    counter seen { }
    quota much { over 10 mbytes }
    limit slow { rate 10/second }
    ct helper ftp { type "ftp" protocol tcp; }
    map any { type ipv4_addr : ipv4_addr; elements = { * : 1.1.1.1 }; }
    set timed { type ipv4_addr; flags dynamic,timeout; elements = { 1.1.1.1 timeout 1h comment "x" }; }
    chain c {
        type nat hook prerouting priority -100; policy accept;
        tcp dport 1 counter name seen dnat to 10.9.9.9
        ip saddr { 10.0.0.0/8, 172.16.0.0/12 } log prefix "odd" limit name slow
    }
}
table ip6 nodeplane-kubeproxy-too { chain c { type filter hook output priority -300; }; }
table inet nodeplane-kubeproxy {
    chain services { type filter hook forward priority 0; }
    map frontends { type mark : verdict; }
}
table bridge br { chain c { type filter hook forward priority 0; meta protocol ip accept; }; }
table netdev dev { chain c { type filter hook ingress device "lo" priority 0; ip daddr 10.96.0.1 counter; }; }
table arp a { chain c { type filter hook input priority 0; }; }
table ip asleep { flags dormant; chain c { type nat hook prerouting priority -101; tcp dport 80 drop; }; }
"""


def many_sets(number: int) -> str:
    lines = "".join(
        f"set s{index} {{ type ipv4_addr; flags interval; elements = {{ 10.{index & 255}.0.0/16 }}; }}\n"
        f"chain c{index} {{ ip saddr @s{index} counter; }}\n"
        for index in range(number)
    )
    return f"table ip many {{\n{lines}}}\ntable inet many {{\n{lines}}}\n"


class CountingTable(KernelTable):
    """Counts the messages that it reads."""

    def __init__(self, family: Family, name: str) -> None:
        super().__init__(family, name)
        self.messages = 0
        inside = self._socket._socket
        self._receive_uncounted = inside._receive
        inside._receive = self._receive  # type: ignore[method-assign]

    def _receive(self, operation: str) -> bytes:
        data = self._receive_uncounted(operation)
        self.messages += sum(1 for _ in nl.messages(data))
        return data


@contextmanager
def proxier_in(ns: Path) -> Iterator[tuple[Proxier, dict[Family, CountingTable]]]:
    with netns.inside(ns), ExitStack() as stack:
        edges = {family: CountingTable(family, TABLE) for family in FAMILIES}
        for edge in edges.values():
            stack.enter_context(edge)
        yield Proxier("n1", [FamilyProxier(family, edges[family]) for family in FAMILIES]), edges


def messages_of_a_life(ns: Path) -> list[int]:
    """Start, change, notice, audit and restart; return the messages that were read after each step."""
    counts = []
    with proxier_in(ns) as (proxier, edges):
        proxier.take(additions(WEB, WEB_SLICE))
        for step in (
            lambda: proxier.sync(full=True),
            lambda: proxier.take(diff_objects({WEB_SLICE.key: WEB_SLICE}, {GROWN.key: GROWN})),
            lambda: proxier.sync(full=False),
            proxier.is_disturbed,
            lambda: proxier.sync(full=True),
        ):
            step()
            counts.append(sum(edge.messages for edge in edges.values()))
        assert not proxier.is_disturbed()
    with proxier_in(ns) as (proxier, edges):
        proxier.take(additions(WEB, GROWN))
        assert proxier.sync(full=True).transactions == 0
        counts.append(sum(edge.messages for edge in edges.values()))
    return counts


def foreign(ns: Path) -> str:
    """Return all that is not ours, without what packets and time change."""
    tables = run_in(ns, "nft", "list", "tables").stdout.splitlines()
    mine = {f"table {family} {TABLE}" for family in FAMILIES}
    return "".join(
        run_in(ns, "nft", "-s", "list", *table.split()).stdout for table in tables if table not in mine
    )


@pytest.mark.parametrize(
    "content", [pytest.param(ODD_CONTENT, id="odd"), pytest.param(many_sets(1500), id="thousands of sets")]
)
def test_neighbours_cost_nothing(content: str) -> None:
    """We read as many messages as alone, work, and leave the others as they were."""
    with namespace() as ns:
        alone = messages_of_a_life(ns)
    with namespace() as ns:
        loaded = run_in(ns, "nft", "-f", "-", stdin=content)
        assert (loaded.returncode, loaded.stderr) == (0, "")
        before = foreign(ns)
        assert messages_of_a_life(ns) == alone
        assert foreign(ns) == before
        listed = run_in(ns, "nft", "list", "ruleset")
        cleaned = delete_ours(ns)
        assert foreign(ns) == before

    assert (listed.returncode, listed.stderr) == (0, "")
    assert cleaned == [True, True]


def delete_ours(ns: Path) -> list[bool]:
    with proxier_in(ns) as (_, edges):
        return [edge.delete() for edge in edges.values()]


def newer_content(family: Family) -> Iterator[Request]:
    """Yield a table that nft 1.0.6 can't print: types, flags and expressions of another time."""
    create = nl.NLM_F_CREATE
    name = nl.text(1, "newer")
    # User data of a kind that nobody knows, and a key of a type that nobody knows.
    yield nl.NEWTABLE, create, name + nl.u32(2, 0) + nl.attribute(6, b"\x7f\x02??")
    yield (
        nl.NEWSET,
        create,
        name
        + nl.text(2, "strange")
        + nl.u32(4, 63)
        + nl.u32(5, 7)
        + nl.u32(3, 0)
        + nl.u32(10, 1)
        + nl.attribute(13, b"\x7f\x02??"),
    )
    yield nl.NEWCHAIN, create, name + nl.text(3, "c")
    element = nl.nested(1, nl.nested(1, nl.attribute(1, b"strange")), nl.attribute(6, b"\x7f\x02??"))
    yield nl.NEWSETELEM, create, name + nl.text(2, "strange") + nl.nested(3, element)


def test_content_of_a_newer_nft() -> None:
    """What this nft could not have written is no concern of ours."""
    with namespace() as ns:
        alone = messages_of_a_life(ns)
    with namespace() as ns:
        with proxier_in(ns) as (_, edges):
            for family, edge in edges.items():
                edge._socket.commit("write a foreign table", list(newer_content(family)))
                assert encode_batch(family, [])[1] == 0
        assert messages_of_a_life(ns) == alone


def test_monitor_prints_our_changes(tmp_path: Path) -> None:
    """`nft monitor` beside us prints the table, then the change of one endpoint."""
    log = tmp_path / "log"
    with namespace() as ns, proxier_in(ns) as (proxier, _):
        with log.open("wb") as output:
            monitor = subprocess.Popen(["nft", "monitor"], stdout=output, stderr=subprocess.STDOUT)
        try:
            # It says nothing until something happens.
            eventually(lambda: touch(ns, log), lambda text: "heard" in text)
            proxier.take(additions(WEB, WEB_SLICE))
            proxier.sync(full=True)
            eventually(lambda: PRINTED.findall(log.read_text()), lambda ends: len(ends) == 2)
            size = len(log.read_text())
            proxier.take(diff_objects({WEB_SLICE.key: WEB_SLICE}, {GROWN.key: GROWN}))
            proxier.sync(full=False)
            printed = eventually(lambda: log.read_text()[size:], lambda text: bool(PRINTED.search(text)))
            assert monitor.poll() is None
        finally:
            monitor.kill()
            monitor.wait(timeout=60)

    lines = printed.splitlines()
    # One more slot is another size: the frontend and all three slots are written, and one member.
    assert [sum(line.startswith(start) for line in lines) for start in WRITTEN] == [1, 1, 2, 3, 1, 1]
    (member,) = (line for line in lines if line.startswith(WRITTEN[4]))
    assert member.endswith(": 10.244.0.3 . 8080 }")


def test_monitor_survives_every_shape(tmp_path: Path) -> None:
    """Whatever comes and goes, and whoever writes it, `nft monitor` of nft 1.0.6 prints it and goes on."""
    log = tmp_path / "log"
    cidrs = (service_cidr("one", *SERVICE_CIDRS), service_cidr("two", "240.0.0.0/4", "fe00::/7"))
    steps: list[list[Object]] = [
        [*cidrs],
        *([build_service(shape), *build_slices(shape)] for shape in SHAPES.values()),
    ]
    with namespace() as ns, proxier_in(ns) as (proxier, _):
        with log.open("wb") as output:
            monitor = subprocess.Popen(["nft", "monitor"], stdout=output, stderr=subprocess.STDOUT)
        try:
            # It says nothing until something happens.
            eventually(lambda: touch(ns, log), lambda text: "heard" in text)
            proxier.sync(full=True)
            for items in steps:
                proxier.take(additions(*items))
                proxier.sync(full=False)
            for change in ("add element {} {{ 10.98.0.0/24 }}", "delete element {} {{ 10.96.0.0/16 }}"):
                done = run_in(ns, "nft", change.format(f"ip {TABLE} service-cidrs"))
                assert (done.returncode, done.stderr) == (0, "")
            proxier.sync(full=True)
            for items in steps:
                proxier.take(diff_objects({item.key: item for item in items}, {}))
                proxier.sync(full=False)
            run_in(ns, "nft", "add table ip last")
            eventually(log.read_text, lambda text: "add table ip last" in text)
            assert monitor.poll() is None
        finally:
            monitor.kill()
            monitor.wait(timeout=60)

    lines = log.read_text().splitlines()
    for family in FAMILIES:
        for name in ("source-ranges", "service-cidrs"):
            written = [line for line in lines if f" element {family} {TABLE} {name} " in line]
            assert {line.split()[0] for line in written} >= {"create", "delete"}
            assert [line for line in written if not RANGE.fullmatch(line)] == []


# All that a line has of a range; of sets of several fields nft prints its own memory.
RANGE = re.compile(r"\w+ element \S+ \S+ \S+ { [0-9a-f.:/]+(-[0-9a-f.:]+)? }")
# What ends a transaction of ours, one for each family.
PRINTED = re.compile(f"# new generation [0-9]+ by process {os.getpid()} ")
WRITTEN = [
    f"{change} ip {TABLE} {name} "
    for change, name in (
        ("delete element", "frontends"),
        ("create element", "frontends"),
        ("delete element", "members"),
        ("create element", "members"),
        ("create element", "member-addresses"),
        ("create element", "members-alive"),
    )
]


def touch(ns: Path, log: Path) -> str:
    run_in(ns, "nft", "add table ip heard; delete table ip heard")
    return log.read_text()
