"""What a Corefile means."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coredns_lite.config import Kubernetes, Listener, Origin, Plugins, Site, decode_config, is_inside
from coredns_lite.corefile import parse_corefile, read_corefile
from nodeplane.errors import ConfigError

M = Origin(manifests=Path("/m"))


def decode(text: str) -> tuple[Listener, ...]:
    return decode_config(parse_corefile(text, "Corefile"))


def listener(address: str, port: int, *sites: Site) -> Listener:
    return Listener(address, port, sites)


NOTHING = Plugins()


@pytest.mark.parametrize(
    ("text", "listeners"),
    [
        pytest.param("a {\n}", [listener("", 53, Site("a.", NOTHING))], id="port 53, all addresses"),
        pytest.param(
            "A.Example. {\n}", [listener("", 53, Site("a.example.", NOTHING))], id="lower case, final dot"
        ),
        pytest.param(
            "dns://.:5353 {\n}", [listener("", 5353, Site(".", NOTHING))], id="transport, root, port"
        ),
        pytest.param(
            "a:1 b:2, c:1 {\n}",
            [listener("", 1, Site("a.", NOTHING), Site("c.", NOTHING)), listener("", 2, Site("b.", NOTHING))],
            id="a listener for each port",
        ),
        pytest.param(
            "a {\n bind 127.0.0.1 ::1\n bind 127.0.0.1\n}",
            [
                listener("127.0.0.1", 53, Site("a.", Plugins(("127.0.0.1", "::1")))),
                listener("::1", 53, Site("a.", Plugins(("127.0.0.1", "::1")))),
            ],
            id="a listener for each address",
        ),
        pytest.param(
            "a {\n log\n}\nb {\n errors\n}",
            [listener("", 53, Site("a.", Plugins(log=True)), Site("b.", Plugins(errors=True)))],
            id="two blocks on one listener",
        ),
        pytest.param(
            "a {\n kubernetes {\n manifests /m\n }\n}",
            [listener("", 53, Site("a.", Plugins(kubernetes=Kubernetes(("a.",), M, 5))))],
            id="zone of the block, ttl 5",
        ),
        pytest.param(
            '. {\n kubernetes Cluster.local b. b {\n manifests "/m"\n ttl 0\n }\n}',
            [listener("", 53, Site(".", Plugins(kubernetes=Kubernetes(("cluster.local.", "b."), M, 0))))],
            id="zones of its own, ttl 0",
        ),
        pytest.param(
            "a {\n kubernetes {\n kubeconfig /k\n }\n}",
            [
                listener(
                    "",
                    53,
                    Site("a.", Plugins(kubernetes=Kubernetes(("a.",), Origin(kubeconfig=Path("/k")), 5))),
                )
            ],
            id="kubeconfig",
        ),
        pytest.param(
            "a {\n kubernetes x.a {\n ttl 3600\n manifests /m\n }\n}",
            [listener("", 53, Site("a.", Plugins(kubernetes=Kubernetes(("x.a.",), M, 3600))))],
            id="zone below the block's, ttl 3600",
        ),
    ],
)
def test_decode(text: str, listeners: list[Listener]) -> None:
    assert decode(text) == tuple(listeners)


ZONE_WANTED = "expected a zone such as cluster.local"
TTL_WANTED = "expected seconds from 0 to 3600"
PORT_WANTED = "expected a port from 1 to 65535 after the zone"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param(
            "a {\n log\n forward . 8.8.8.8\n}",
            "3: forward: expected a plugin of coredns-lite: bind, errors, kubernetes, log",
            id="unknown plugin",
        ),
        pytest.param("(snippet) {\n}", f"1: (snippet): {ZONE_WANTED}", id="snippet"),
        pytest.param("10.0.0.0/24 {\n}", f"1: 10.0.0.0/24: {ZONE_WANTED}", id="network"),
        pytest.param("a..b {\n}", f"1: a..b: {ZONE_WANTED}", id="empty label"),
        pytest.param(":53 {\n}", f"1: :53: {ZONE_WANTED}", id="port alone"),
        pytest.param('"" {\n}', f"1: {ZONE_WANTED}", id="empty zone"),
        pytest.param(
            "a" * 64 + " {\n}",
            f"1: {'a' * 64}: expected a label of 1 to 63 bytes, got 64",
            id="label of 64 bytes",
        ),
        pytest.param(
            "in-addr.arpa {\n}",
            "1: in-addr.arpa: expected a forward zone, reverse zones are not served",
            id="reverse",
        ),
        pytest.param("\na:0 {\n}", f"2: a:0: {PORT_WANTED}", id="port 0"),
        pytest.param("a:65536 {\n}", f"1: a:65536: {PORT_WANTED}", id="port 65536"),
        pytest.param("a: {\n}", f"1: a:: {PORT_WANTED}", id="no port"),
        pytest.param(
            "a:5\N{ARABIC-INDIC DIGIT THREE} {\n}", f"1: a:5\u0663: {PORT_WANTED}", id="other digits"
        ),
        pytest.param(
            "tls://a {\n}",
            "1: tls://a: expected the transport dns, others are not served",
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
            "a {\n log {\n }\n}", "2: log: expected no block, it has no options", id="log with a block"
        ),
        pytest.param(
            "a {\n log\n log\n}", "3: log: expected each plugin once in a server block", id="plugin twice"
        ),
        pytest.param(
            "a {\n kubernetes\n}",
            "2: kubernetes: expected one of the options manifests DIR, kubeconfig FILE in its block",
            id="no manifests",
        ),
        pytest.param(
            "a {\n kubernetes {\n manifests /m\n kubeconfig /k\n }\n}",
            "2: kubernetes: expected one of the options manifests DIR, kubeconfig FILE in its block",
            id="manifests and a kubeconfig",
        ),
        pytest.param(
            "a {\n kubernetes b {\n manifests /m\n }\n}",
            "2: b: expected a zone inside those of the server block",
            id="zone outside the block's",
        ),
        pytest.param(
            ". {\n kubernetes ip6.arpa {\n manifests /m\n }\n}",
            "2: ip6.arpa: expected a forward zone, reverse zones are not served",
            id="reverse zone of kubernetes",
        ),
        pytest.param(
            "a {\n kubernetes {\n ttl 3601\n manifests /m\n }\n}", f"3: 3601: {TTL_WANTED}", id="ttl 3601"
        ),
        pytest.param(
            "a {\n kubernetes {\n ttl -1\n manifests /m\n }\n}", f"3: -1: {TTL_WANTED}", id="ttl -1"
        ),
        pytest.param(
            "a {\n kubernetes {\n ttl 5s\n manifests /m\n }\n}", f"3: 5s: {TTL_WANTED}", id="ttl 5s"
        ),
        pytest.param(
            "a {\n kubernetes {\n ttl\n}\n}", "3: ttl: expected one value after it, got 0", id="no ttl"
        ),
        pytest.param(
            "a {\n kubernetes {\n manifests /m /n\n}\n}",
            "3: manifests: expected one value after it, got 2",
            id="two directories",
        ),
        pytest.param(
            "a {\n kubernetes {\n ttl 1\n ttl 1\n}\n}", "4: ttl: expected each option once", id="option twice"
        ),
        pytest.param(
            "a {\n kubernetes {\n pods verified\n}\n}",
            "3: pods: expected an option of kubernetes: kubeconfig, manifests, ttl",
            id="unknown option",
        ),
    ],
)
def test_decode_refuses(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(text)

    assert str(caught.value) == f"Corefile:{error}"


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
    deployed = Path(__file__).parents[2] / "deploy" / "Corefile"
    kubernetes = Kubernetes(("cluster.local.",), Origin(manifests=Path("/etc/nodeplane/manifests")), 30)

    assert decode_config(read_corefile(deployed)) == (
        listener("", 53, Site("cluster.local.", Plugins(kubernetes=kubernetes, errors=True))),
    )


def test_the_corefiles_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "coredns-lite.md").read_text()
    examples = re.findall(r"^```corefile\n(.*?)^```", page, re.MULTILINE | re.DOTALL)

    assert [len(decode(example)) for example in examples] == [4]
