"""Which plugins answer a name when several server blocks share a listener."""

from ipaddress import IPv4Address
from typing import Any

import msgspec
import pytest

from coredns_lite import chain
from coredns_lite.chain import REFUSED, build_chains
from coredns_lite.config import Listener, Site, decode_config
from coredns_lite.corefile.parser import Directive, parse_corefile
from coredns_lite.plugin import Client, Handler, Outcome, Plugin, Surroundings
from coredns_lite.wire.names import encode_name
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import txt_record
from coredns_lite.wire.reply import Answer
from tests.coredns_lite.plugins.links import Place

CLIENT = Client(IPv4Address("10.0.0.1"), 4000, "udp")


class Note:
    """A plugin that adds its word to what the next ones say; `ends` that it asks none."""

    REPEATS = True

    def __init__(self, name: str, *, ends: bool = False) -> None:
        self._name = name
        self._ends = ends

    def decode(self, directive: Directive, _zones: tuple[str, ...]) -> str:
        return f"{self._name}{directive.args[0].text if directive.args else ''}"

    def build(self, config: str, surroundings: Surroundings, following: Handler) -> Handler:
        return _NoteLink(f"{config}@{surroundings.zone}", None if self._ends else following)


class _NoteLink:
    def __init__(self, word: str, following: Handler | None) -> None:
        self._word = txt_record(word.encode(), 0)
        self._following = following

    def answer(self, query: Query, client: Client) -> Outcome:
        said = self._following.answer(query, client) if self._following else Answer()
        assert isinstance(said, Answer)
        return msgspec.structs.replace(said, answers=(self._word, *said.answers))


PLUGINS: dict[str, Plugin[Any]] = {
    "first": Note("first"),
    "second": Note("second"),
    "end": Note("end", ends=True),
}

COREFILE = """
. {
    second
    first 2
    first 1
}
example {
    end
    second
}
deep.example {
}
"""


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Listener:
    monkeypatch.setattr("coredns_lite.config.PLUGINS", PLUGINS)
    monkeypatch.setattr(chain, "PLUGINS", PLUGINS)
    (found,) = decode_config(parse_corefile(COREFILE, "Corefile"))
    return found


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("org", ["first2@.", "first1@.", "second@."], id="the order of plugins, then the file's"),
        pytest.param("example", ["second@example.", "end@example."], id="one that asks no other"),
        pytest.param("a.example", ["second@example.", "end@example."], id="the longest zone"),
        pytest.param("a.deep.example", None, id="a block without plugins refuses, the outer one has no say"),
    ],
)
def test_chain(name: str, words: list[str] | None, listener: Listener) -> None:
    def surround(of: Listener, site: Site) -> Surroundings:
        return Place(of.name, site.zone)

    wire = encode_name(name)
    found = build_chains(listener, surround).find(wire)
    assert found is not None
    said = found.handler.answer(Query(1, 0, wire + b"\0\1\0\1", wire, 1, 1), CLIENT)

    assert isinstance(said, Answer)
    assert [record.rdata[1:].decode() for record in said.answers] == (words or [])
    assert (said == REFUSED) == (words is None)
