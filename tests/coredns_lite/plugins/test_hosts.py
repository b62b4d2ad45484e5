"""The plugin `hosts`."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coredns_lite.plugins.hosts import Hosts, HostsFile, table
from coredns_lite.plugins.hosts.table import parse_hosts
from coredns_lite.wire.names import encode_name
from coredns_lite.wire.record import Record
from tests.coredns_lite.plugins.links import Place, Seen, Stub, build, see

FILE = """
# a comment
10.0.0.1  Web.example.org www.example.org   # another
10.0.0.2  web.example.org
fd00::1   web.example.org
fe80::1%eth0 link.example.org
10.0.0.9  other.net
nonsense  a.example.org
10.0.0.3  a..b ok.example.org
10.0.0.4
"""
PASSED_ON = Seen("NXDOMAIN")


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    path = tmp_path / "hosts"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    ("name", "rtype", "options", "seen"),
    [
        (
            "web.Example.org",
            "A",
            "",
            Seen(answer=("web.Example.org. 3600 IN A 10.0.0.1", "web.Example.org. 3600 IN A 10.0.0.2")),
        ),
        ("web.example.org", "AAAA", "ttl 60", Seen(answer=("web.example.org. 60 IN AAAA fd00::1",))),
        ("www.example.org", "AAAA", "", Seen()),
        ("www.example.org", "MX", "", Seen()),
        ("link.example.org", "AAAA", "", Seen(answer=("link.example.org. 3600 IN AAAA fe80::1",))),
        ("ok.example.org", "A", "", Seen(answer=("ok.example.org. 3600 IN A 10.0.0.3",))),
        (
            "in.example.org",
            "A",
            "10.1.1.1 in.example.org",
            Seen(answer=("in.example.org. 3600 IN A 10.1.1.1",)),
        ),
        ("a.example.org", "A", "", Seen("SERVFAIL")),
        ("a.example.org", "A", "fallthrough", PASSED_ON),
        ("a.example.org", "A", "fallthrough b.example.org", Seen("SERVFAIL")),
        ("other.net", "A", "", PASSED_ON),
        (
            "1.0.0.10.in-addr.arpa",
            "PTR",
            "",
            Seen(
                answer=(
                    "1.0.0.10.in-addr.arpa. 3600 IN PTR web.example.org.",
                    "1.0.0.10.in-addr.arpa. 3600 IN PTR www.example.org.",
                )
            ),
        ),
        ("9.0.0.10.in-addr.arpa", "PTR", "", Seen(answer=("9.0.0.10.in-addr.arpa. 3600 IN PTR other.net.",))),
        ("1.0.0.10.in-addr.arpa", "PTR", "no_reverse", PASSED_ON),
        ("8.0.0.10.in-addr.arpa", "PTR", "", PASSED_ON),
    ],
)
def test_hosts(name: str, rtype: str, options: str, seen: Seen, hosts: Path) -> None:
    handler = build(f"hosts {hosts} example.org {{\n{options}\n}}", Stub())

    assert see(handler, name, rtype) == seen


def test_a_change_of_the_file(hosts: Path) -> None:
    """A new file is read and announced; while there is none the last entries stay."""

    async def scenario() -> None:
        place = Place()
        build(f"hosts {hosts} {{\n reload 10ms\n}}", Stub(), place)
        (file,) = place.kept()
        async with asyncio.TaskGroup() as tasks:
            (main,) = [tasks.create_task(main()) for main in place.mains]
            draft = hosts.with_name("draft")
            draft.write_text("10.9.9.9 new.example.org\n")
            draft.rename(hosts)
            while not place.changes:
                await asyncio.sleep(0.01)
            assert list(file.table.names) == [encode_name("new.example.org")]
            hosts.unlink()
            assert not file.read_if_changed()
            main.cancel()
        assert list(file.table.names) == [encode_name("new.example.org")]

    asyncio.run(scenario())


def test_no_file(tmp_path: Path) -> None:
    """Without the file there are the lines of the Corefile."""
    file = HostsFile(Hosts((".",), tmp_path / "none", "10.0.0.1 a"))

    assert list(file.table.names) == [encode_name("a")]


@given(st.text())
@settings(deadline=None)
def test_any_text(text: str) -> None:
    """Any file is read: what makes no sense is passed over."""
    parse_hosts(text, 5)


def test_many_names_of_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is looked at once, not once for each that came before."""
    compared = []

    class Compared(Record, frozen=True):
        def __eq__(self, other: object) -> bool:
            compared.append(other)
            return isinstance(other, Record) and self.rdata == other.rdata

        def __hash__(self) -> int:
            return hash(self.rdata)

    monkeypatch.setattr(
        table, "name_record", lambda rtype, name, ttl_s: Compared(int(rtype), ttl_s, bytes(name))
    )
    names = [f"n{number}.example" for number in range(500)]
    found = parse_hosts(f"10.0.0.1 {' '.join(names)}", 5)

    (pointer,) = found.pointers.values()
    assert [record.rdata for record in pointer.answers] == [encode_name(name) for name in names]
    assert len(compared) <= len(names)
