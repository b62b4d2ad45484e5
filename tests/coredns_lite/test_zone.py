"""Which zone a name is in; what a zone says is in `test_responder`."""

import pytest

from coredns_lite.names import encode_name
from coredns_lite.zone import ZoneTable

TABLE = ZoneTable(
    {encode_name("example"): "outer", encode_name("a.example"): "inner", encode_name("b.example"): ""}
)


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
    assert ZoneTable({encode_name("."): 1}).find(encode_name(name)) == 1
