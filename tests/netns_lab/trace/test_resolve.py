"""What a pod's resolver makes of a name (resolv.conf(5))."""

import pytest

from netns_lab.trace.resolve import ResolvConf, candidates, parse_resolv_conf

POD = ResolvConf(("10.96.0.10",), ("default.svc.cluster.local", "svc.cluster.local", "cluster.local"), 5)


@pytest.mark.parametrize(
    ("name", "config", "asked"),
    [
        pytest.param(
            "web",
            POD,
            ["web.default.svc.cluster.local", "web.svc.cluster.local", "web.cluster.local", "web"],
            id="a short name",
        ),
        pytest.param("web.", POD, ["web"], id="a full name"),
        pytest.param("a.b.c.d.e.f", ResolvConf((), ("x",), 5), ["a.b.c.d.e.f", "a.b.c.d.e.f.x"], id="ndots"),
        pytest.param("web", ResolvConf(), ["web"], id="no search list"),
    ],
)
def test_candidates(name: str, config: ResolvConf, asked: list[str]) -> None:
    assert candidates(name, config) == asked


@pytest.mark.parametrize(
    ("text", "config"),
    [
        pytest.param(
            "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\n"
            "options ndots:5\n",
            POD,
            id="a pod's",
        ),
        pytest.param(
            "# empty\noptions edns0 ndots:x\nnameserver\n", ResolvConf(), id="what is not understood"
        ),
        pytest.param(
            "nameserver 1.1.1.1\nnameserver fd00::1", ResolvConf(("1.1.1.1", "fd00::1")), id="two servers"
        ),
    ],
)
def test_parse(text: str, config: ResolvConf) -> None:
    assert parse_resolv_conf(text) == config
