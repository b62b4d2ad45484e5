"""Which zone serves a name when several server blocks share a listener."""

import pytest

from coredns_lite.config import decode_config
from coredns_lite.corefile import parse_corefile
from coredns_lite.names import encode_name
from coredns_lite.sites import build_logged, build_zones, cluster_key
from coredns_lite.zone import Zone
from tests.coredns_lite.objects import build_index

COREFILE = """
. {
    kubernetes cluster.local b.example {
        manifests /one
    }
}
example {
    log
}
deep.cluster.local {
    kubernetes {
        manifests /two
    }
}
team.cluster.local {
    log
}
"""
(LISTENER,) = decode_config(parse_corefile(COREFILE, "Corefile"))
ONE, TWO = build_index(), build_index()
CONFIGURED = [site.plugins.kubernetes for site in LISTENER.sites]
KEYS = [cluster_key(kubernetes) for kubernetes in CONFIGURED if kubernetes]
ZONES = build_zones(LISTENER, dict(zip(KEYS, (ONE, TWO), strict=True)))


@pytest.mark.parametrize(
    ("name", "origin", "logged"),
    [
        pytest.param("cluster.local", "cluster.local", False, id="zone of the root's block"),
        pytest.param("a.cluster.local", "cluster.local", False, id="name in it"),
        pytest.param("a.deep.cluster.local", "deep.cluster.local", False, id="block of its own below"),
        pytest.param("a.team.cluster.local", None, True, id="block without kubernetes below"),
        pytest.param("a.b.example", None, True, id="zone of another block's plugin does not reach in"),
        pytest.param("example.org", None, False, id="block without a zone for it"),
    ],
)
def test_site(name: str, origin: str | None, logged: bool) -> None:
    zone = ZONES.find(encode_name(name))

    assert (zone.origin if isinstance(zone, Zone) else zone) == (encode_name(origin) if origin else None)
    assert build_logged(LISTENER).find(encode_name(name)) == logged


def test_same_input_is_one_index() -> None:
    """Plugins with the same directory and TTL share an index, others don't."""
    text = "{0} {{\n kubernetes {{\n manifests {1}\n ttl {2}\n }}\n}}\n"
    blocks = [("a", "/m", 5), ("b", "/m", 5), ("c", "/m", 6), ("d", "/n", 5)]
    listeners = decode_config(parse_corefile("".join(text.format(*block) for block in blocks), "Corefile"))
    keys = [cluster_key(site.plugins.kubernetes) for site in listeners[0].sites if site.plugins.kubernetes]

    assert [keys.index(key) for key in keys] == [0, 0, 2, 3]
