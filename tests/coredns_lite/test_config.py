"""What a Corefile means."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from coredns_lite.config import Listener, Site, decode_config
from coredns_lite.corefile.parser import parse_corefile, read_corefile
from coredns_lite.plugins import PLUGINS
from coredns_lite.plugins.errors import Errors
from coredns_lite.plugins.health import Health
from coredns_lite.plugins.kubernetes import Kubernetes, Origin
from coredns_lite.plugins.kubernetes.zone import ZoneOptions
from coredns_lite.query_log import LogRule
from nodeplane.errors import ConfigError

M = Origin(manifests=Path("/m"))


def decode(text: str) -> tuple[Listener, ...]:
    return decode_config(parse_corefile(text, "Corefile"))


def listener(address: str, port: int, *sites: Site, scheme: str = "dns") -> Listener:
    return Listener(scheme, address, port, sites)


def site(zone: str, **plugins: Any) -> Site:
    """Build a site; a value is the configuration of a plugin's only line."""
    return Site(zone, {name: (config,) for name, config in plugins.items()})


BOUND = {"bind": (("127.0.0.1", "::1"), ("127.0.0.1",))}


@pytest.mark.parametrize(
    ("text", "listeners"),
    [
        pytest.param("a {\n}", [listener("", 53, site("a."))], id="port 53, all addresses"),
        pytest.param("A.Example. {\n}", [listener("", 53, site("a.example."))], id="lower case, final dot"),
        pytest.param("dns://.:5353 {\n}", [listener("", 5353, site("."))], id="transport, root, port"),
        pytest.param(
            "a:1 b:2, c:1 {\n}",
            [listener("", 1, site("a."), site("c.")), listener("", 2, site("b."))],
            id="a listener for each port",
        ),
        pytest.param(
            "a {\n bind 127.0.0.1 ::1\n bind 127.0.0.1\n}",
            [
                listener("127.0.0.1", 53, Site("a.", BOUND)),
                listener("::1", 53, Site("a.", BOUND)),
            ],
            id="a listener for each address",
        ),
        pytest.param(
            "a {\n log\n}\nb {\n errors\n}",
            [listener("", 53, site("a.", log=LogRule()), site("b.", errors=Errors()))],
            id="two blocks on one listener",
        ),
        pytest.param(
            "a {\n kubernetes {\n manifests /m\n }\n}",
            [listener("", 53, site("a.", kubernetes=Kubernetes(("a.",), M)))],
            id="zone of the block, ttl 5",
        ),
        pytest.param(
            '. {\n kubernetes Cluster.local b. b {\n manifests "/m"\n ttl 0\n }\n}',
            [
                listener(
                    "",
                    53,
                    site(".", kubernetes=Kubernetes(("cluster.local.", "b."), M, shown=ZoneOptions(ttl_s=0))),
                )
            ],
            id="zones of its own, ttl 0",
        ),
        pytest.param(
            "a {\n kubernetes {\n kubeconfig /k\n }\n}",
            [
                listener(
                    "",
                    53,
                    site("a.", kubernetes=Kubernetes(("a.",), Origin(kubeconfig=Path("/k")))),
                )
            ],
            id="kubeconfig",
        ),
        pytest.param(
            "a {\n kubernetes x.a {\n ttl 3600\n manifests /m\n }\n}",
            [
                listener(
                    "", 53, site("a.", kubernetes=Kubernetes(("x.a.",), M, shown=ZoneOptions(ttl_s=3600)))
                )
            ],
            id="zone below the block's, ttl 3600",
        ),
    ],
)
def test_decode(text: str, listeners: list[Listener]) -> None:
    assert decode(text) == tuple(listeners)


ZONE_WANTED = "expected a zone such as cluster.local"
PORT_WANTED = "expected a port from 1 to 65535 after the zone"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param(
            "a {\n log\n nope . 8.8.8.8\n}",
            f"3: nope: expected a plugin of coredns-lite: {', '.join(sorted(PLUGINS))}",
            id="unknown plugin",
        ),
        pytest.param("a..b {\n}", f"1: a..b: {ZONE_WANTED}", id="empty label"),
        pytest.param(":53 {\n}", f"1: :53: {ZONE_WANTED}", id="port alone"),
        pytest.param('"" {\n}', f"1: {ZONE_WANTED}", id="empty zone"),
        pytest.param(
            "a" * 64 + " {\n}",
            f"1: {'a' * 64}: expected a label of 1 to 63 bytes, got 64",
            id="label of 64 bytes",
        ),
        pytest.param("\na:0 {\n}", f"2: a:0: {PORT_WANTED}", id="port 0"),
        pytest.param("a:65536 {\n}", f"1: a:65536: {PORT_WANTED}", id="port 65536"),
        pytest.param("a: {\n}", f"1: a:: {PORT_WANTED}", id="no port"),
        pytest.param(
            "a:5\N{ARABIC-INDIC DIGIT THREE} {\n}", f"1: a:5\u0663: {PORT_WANTED}", id="other digits"
        ),
        pytest.param(
            "grpc://a {\n}",
            "1: grpc://a: expected one of the transports dns, tls, others are not served",
            id="other transport",
        ),
        pytest.param(
            "a {\n}\nb {\n}\nA. {\n}",
            "5: A.: expected each zone once on an address and port",
            id="zone twice",
        ),
        pytest.param(
            "a {\n bind ::1\n}\na {\n bind 127.0.0.1 ::1\n}",
            "4: a: expected each zone once on an address and port",
            id="zone twice on one of the addresses",
        ),
        pytest.param(
            "a {\n bind\n}", "2: bind: expected at least one IP address after it", id="bind nothing"
        ),
        pytest.param("a {\n bind eth0\n}", "2: eth0: expected an IP address", id="bind an interface"),
        pytest.param(
            "a {\n bind ::1 {\n }\n}", "2: bind: expected no block, it has no options", id="bind block"
        ),
        pytest.param(
            "a {\n errors x\n}", "2: x: expected nothing after errors", id="errors with an argument"
        ),
        pytest.param(
            "a {\n errors\n errors\n}",
            "3: errors: expected each plugin once in a server block",
            id="plugin twice",
        ),
    ],
)
def test_decode_refuses(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(text)

    assert str(caught.value) == f"Corefile:{error}"


PARTS = st.sampled_from(
    [
        "a",
        ".",
        ":53",
        " ",
        "\n",
        "{",
        "}",
        "bind ",
        "::1",
        "kubernetes ",
        "manifests /m",
        "kubeconfig /k",
        "ttl ",
        "9",
        "log",
        "errors",
    ]
)


@given(st.text() | st.lists(PARTS).map("".join))
@settings(deadline=None)
def test_any_text(text: str) -> None:
    """Any text is a configuration or refused in one line that names the file."""
    refusal = "Corefile"
    try:
        assert decode(text)
    except ConfigError as exc:
        refusal = str(exc)

    assert refusal.startswith("Corefile")
    assert len(refusal.splitlines()) == 1


def test_the_corefile_that_we_ship() -> None:
    """It is kubeadm's, and means the same."""
    deployed = Path(__file__).parents[2] / "deploy" / "Corefile"
    ((site_found,),) = [found.sites for found in decode_config(read_corefile(deployed))]
    reverse = ("in-addr.arpa.", "ip6.arpa.")

    assert site_found.zone == "."
    assert sorted(site_found.plugins) == sorted(
        [
            "errors",
            "health",
            "ready",
            "kubernetes",
            "prometheus",
            "forward",
            "cache",
            "loop",
            "reload",
            "loadbalance",
        ]
    )
    (kubernetes,) = site_found.plugins["kubernetes"]
    assert kubernetes.zones == ("cluster.local.", *reverse)
    assert kubernetes.shown == ZoneOptions(ttl_s=30, pods="insecure")
    assert site_found.plugins["health"] == (Health(lameduck_s=5.0),)


def test_the_corefiles_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "coredns-lite.md").read_text()
    examples = re.findall(r"^```corefile\n(.*?)^```", page, re.MULTILINE | re.DOTALL)

    assert [len(decode(example)) for example in examples] == [4]


def test_the_deployment_that_we_ship() -> None:
    """Its ConfigMap holds the Corefile that we ship."""
    folder = Path(__file__).parents[2] / "deploy"
    config, _ = yaml.safe_load_all((folder / "coredns-lite" / "deployment.yaml").read_text())
    shipped = (folder / "Corefile").read_text().partition("\n")[2]

    assert config["data"] == {"Corefile": shipped}
