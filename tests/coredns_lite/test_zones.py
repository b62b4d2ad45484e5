"""Which zone a name is in; what a zone says is in `test_responder`."""

import pytest

from coredns_lite.corefile.lexer import Token
from coredns_lite.wire.names import encode_name
from coredns_lite.zones import ZoneTable, decode_zones, is_inside
from nodeplane.errors import ConfigError

TABLE = ZoneTable({"example.": "outer", "a.example.": "inner", "b.example.": ""})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("example", "outer", id="the zone itself"),
        pytest.param("x.y.example", "outer", id="below it"),
        pytest.param("x.a.example", "inner", id="the longest zone wins"),
        pytest.param("x.b.example", "", id="an empty value is a value"),
        pytest.param("xexample", None, id="no suffix of labels"),
        pytest.param("other", None, id="elsewhere"),
        pytest.param(".", None, id="the root"),
    ],
)
def test_find(name: str, value: str | None) -> None:
    assert TABLE.find(encode_name(name)) == value


@pytest.mark.parametrize("name", [".", "a", "a.b"])
def test_root_zone_holds_all(name: str) -> None:
    assert ZoneTable({".": 1}).find(encode_name(name)) == 1


@pytest.mark.parametrize(
    ("zone", "outer", "inside"),
    [
        pytest.param("a.b.", "a.b.", True, id="itself"),
        pytest.param("x.a.b.", "a.b.", True, id="below"),
        pytest.param("xa.b.", "a.b.", False, id="beside"),
        pytest.param("b.", "a.b.", False, id="above"),
        pytest.param("b.", ".", True, id="below the root"),
        pytest.param(".", ".", True, id="the root itself"),
        pytest.param(".", "b.", False, id="the root above all"),
    ],
)
def test_is_inside(zone: str, outer: str, inside: bool) -> None:
    assert is_inside(zone, outer) == inside


@pytest.mark.parametrize(
    ("text", "zones"),
    [
        pytest.param("Cluster.Local", ["cluster.local."], id="a name"),
        pytest.param(".", ["."], id="the root"),
        pytest.param("in-addr.arpa", ["in-addr.arpa."], id="a reverse zone by its name"),
        pytest.param("10.96.0.0/16", ["96.10.in-addr.arpa."], id="a network"),
        pytest.param("10.96.0.0/15", ["96.10.in-addr.arpa.", "97.10.in-addr.arpa."], id="two zones"),
        pytest.param("10.0.0.0/8", ["10.in-addr.arpa."], id="one octet"),
        pytest.param("0.0.0.0/0", ["in-addr.arpa."], id="all of IPv4"),
        pytest.param("10.1.2.3/32", ["3.2.1.10.in-addr.arpa."], id="one address"),
        pytest.param("fd00::/8", ["d.f.ip6.arpa."], id="IPv6"),
        pytest.param("fd00::/7", None, id="host bits"),
        pytest.param("a/8", None, id="no network"),
        pytest.param("a b", None, id="no zone"),
    ],
)
def test_decode_zones(text: str, zones: list[str] | None) -> None:
    if zones is None:
        with pytest.raises(ConfigError):
            decode_zones(Token(text, "Corefile", 1))
        return
    assert list(decode_zones(Token(text, "Corefile", 1))) == zones
