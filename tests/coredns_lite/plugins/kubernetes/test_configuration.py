"""The plugin's lines of a Corefile (reference/dns.md, section 3.3)."""

from pathlib import Path

import pytest

from coredns_lite.config import decode_config
from coredns_lite.corefile.parser import parse_corefile
from coredns_lite.plugins.kubernetes import Kubernetes, Origin
from coredns_lite.plugins.kubernetes.cluster import build_selectors
from coredns_lite.plugins.kubernetes.facts import Scope
from coredns_lite.plugins.kubernetes.label_selector import parse_label_selector
from coredns_lite.plugins.kubernetes.zone import ZoneOptions
from nodeplane.errors import ConfigError
from nodeplane.kube.api_request import Selector
from nodeplane.kube.objects import EndpointSlice, Namespace, Pod, Service

ZONES = ("a.",)
SELECTOR = parse_label_selector("app in (a, b),!old")


def decode(line: str, label: str = "a") -> Kubernetes:
    (listener,) = decode_config(parse_corefile(f"{label} {{\n kubernetes {line}\n}}", "Corefile"))
    (config,) = listener.sites[0].plugins["kubernetes"]
    assert isinstance(config, Kubernetes)
    return config


def block(*options: str) -> str:
    return "{\n" + "\n".join(options) + "\n}"


@pytest.mark.parametrize(
    ("line", "config"),
    [
        pytest.param("", Kubernetes(ZONES), id="nothing: this pod's cluster"),
        pytest.param("{\n}", Kubernetes(ZONES), id="an empty block"),
        pytest.param("b c.", Kubernetes(("b.", "c.")), id="zones, inside the block's or not"),
        pytest.param("b 10.96.0.0/16", Kubernetes(("b.", "96.10.in-addr.arpa.")), id="a network"),
        pytest.param(
            "in-addr.arpa b", Kubernetes(("in-addr.arpa.", "b.")), id="the first zone is a reverse one"
        ),
        pytest.param(block("manifests /m"), Kubernetes(ZONES, Origin(manifests=Path("/m"))), id="manifests"),
        pytest.param(
            block("kubeconfig /k"), Kubernetes(ZONES, Origin(kubeconfig=Path("/k"))), id="kubeconfig"
        ),
        pytest.param(
            block("kubeconfig /k prod"),
            Kubernetes(ZONES, Origin(kubeconfig=Path("/k"), context="prod")),
            id="kubeconfig and context",
        ),
        pytest.param(
            block("endpoint https://k:6443", "tls c k ca"),
            Kubernetes(ZONES, Origin(endpoint="https://k:6443", tls=("c", "k", "ca"))),
            id="endpoint and tls",
        ),
        pytest.param(
            block("namespaces b a"), Kubernetes(ZONES, scope=Scope(frozenset({"a", "b"}))), id="namespaces"
        ),
        pytest.param(
            block("namespace_labels app in (a, b),!old"),
            Kubernetes(ZONES, scope=Scope(namespace_labels=SELECTOR)),
            id="namespace_labels",
        ),
        pytest.param(
            block("labels app in (a, b),!old"), Kubernetes(ZONES, scope=Scope(labels=SELECTOR)), id="labels"
        ),
        pytest.param(block("pods disabled"), Kubernetes(ZONES), id="pods disabled"),
        pytest.param(
            block("pods insecure"), Kubernetes(ZONES, shown=ZoneOptions(pods="insecure")), id="pods insecure"
        ),
        pytest.param(
            block("pods verified"),
            Kubernetes(ZONES, scope=Scope(has_pods=True), shown=ZoneOptions(pods="verified")),
            id="pods verified",
        ),
        pytest.param(
            block("endpoint_pod_names"),
            Kubernetes(ZONES, scope=Scope(has_pod_names=True)),
            id="endpoint_pod_names",
        ),
        pytest.param(
            block("noendpoints"), Kubernetes(ZONES, scope=Scope(has_endpoints=False)), id="noendpoints"
        ),
        pytest.param(
            block("ignore empty_service"),
            Kubernetes(ZONES, shown=ZoneOptions(ignores_empty=True)),
            id="ignore",
        ),
        pytest.param(block("ttl 0"), Kubernetes(ZONES, shown=ZoneOptions(ttl_s=0)), id="ttl 0"),
        pytest.param(block("ttl 3600"), Kubernetes(ZONES, shown=ZoneOptions(ttl_s=3600)), id="ttl 3600"),
        pytest.param(block("fallthrough"), Kubernetes(ZONES, fall_zones=(".",)), id="fallthrough"),
        pytest.param(
            block("fallthrough in-addr.arpa IP6.arpa."),
            Kubernetes(ZONES, fall_zones=("in-addr.arpa.", "ip6.arpa.")),
            id="fallthrough of zones",
        ),
        pytest.param(
            block("startup_timeout 1m30s"), Kubernetes(ZONES, startup_timeout_s=90.0), id="startup_timeout"
        ),
    ],
)
def test_decode(line: str, config: Kubernetes) -> None:
    assert decode(line) == config


def test_primary_zone() -> None:
    assert decode("in-addr.arpa b. c.").primary == "b."


@pytest.mark.parametrize(
    ("line", "error"),
    [
        pytest.param(
            "in-addr.arpa",
            "2: kubernetes: expected a zone that is no reverse zone among its zones",
            id="reverse zones alone",
        ),
        pytest.param("b..c", "2: b..c: expected a zone such as cluster.local", id="no zone"),
        pytest.param(
            block("multicluster x"),
            "3: multicluster: expected an option of kubernetes: endpoint, endpoint_pod_names, fallthrough, "
            "ignore, kubeconfig, labels, manifests, namespace_labels, namespaces, noendpoints, pods, "
            "startup_timeout, tls, ttl",
            id="unknown option",
        ),
        pytest.param(block("ttl 1", "ttl 1"), "4: ttl: expected each option once", id="twice"),
        pytest.param(block("ttl 3601"), "3: 3601: expected seconds from 0 to 3600", id="ttl 3601"),
        pytest.param(block("ttl -1"), "3: -1: expected seconds from 0 to 3600", id="ttl -1"),
        pytest.param(block("ttl 5s"), "3: 5s: expected seconds from 0 to 3600", id="ttl 5s"),
        pytest.param(block("ttl"), "3: ttl: expected one value after it, got 0", id="no ttl"),
        pytest.param(
            block("manifests /m /n"), "3: manifests: expected one value after it, got 2", id="two values"
        ),
        pytest.param(
            block("kubeconfig"),
            "3: kubeconfig: expected a file and maybe a context after it, got 0",
            id="no kubeconfig",
        ),
        pytest.param(
            block("kubeconfig a b c"),
            "3: kubeconfig: expected a file and maybe a context after it, got 3",
            id="too much kubeconfig",
        ),
        pytest.param(
            block("manifests /m", "kubeconfig /k"),
            "4: kubeconfig: expected not both of manifests and kubeconfig",
            id="two origins",
        ),
        pytest.param(
            block("endpoint http://k", "kubeconfig /k"),
            "3: endpoint: expected not both of kubeconfig and endpoint",
            id="two servers",
        ),
        pytest.param(block("endpoint k:6443"), "3: k:6443: expected an http:// or https:// URL", id="no URL"),
        pytest.param(block("tls a b c"), "3: tls: expected the option endpoint with it", id="tls alone"),
        pytest.param(
            block("endpoint https://k", "tls a b"),
            "4: tls: expected three files after it, certificate, key and authority, got 2",
            id="two files",
        ),
        pytest.param(
            block("namespaces"), "3: namespaces: expected at least one namespace after it", id="no namespace"
        ),
        pytest.param(
            block("namespaces A"), "3: A: expected a namespace (lower case, digits, '-')", id="bad namespace"
        ),
        pytest.param(
            block("namespaces a", "namespace_labels b"),
            "4: namespace_labels: expected not both of namespaces and namespace_labels",
            id="namespaces twice",
        ),
        pytest.param(block("labels"), "3: labels: expected a label selector after it", id="no selector"),
        pytest.param(
            block("labels app in a"),
            "3: app: expected a label selector such as app=web,tier in (a, b): 'app in a'",
            id="bad selector",
        ),
        pytest.param(
            block("pods all"), "3: all: expected one of disabled, insecure, verified", id="pods all"
        ),
        pytest.param(block("noendpoints x"), "3: x: expected nothing after noendpoints", id="noendpoints x"),
        pytest.param(block("ignore all"), "3: all: expected empty_service", id="ignore all"),
        pytest.param(
            block("noendpoints", "ignore empty_service"),
            "4: ignore: expected not both of noendpoints and ignore",
            id="nothing would be left",
        ),
        pytest.param(
            block("fallthrough a..b"), "3: a..b: expected a zone such as cluster.local", id="bad zone"
        ),
        pytest.param(
            block("startup_timeout soon"),
            "3: soon: expected a duration such as 500ms, 30s or 1h30m",
            id="no duration",
        ),
    ],
)
def test_decode_refuses(line: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(line)

    assert str(caught.value) == f"Corefile:{error}"


def test_selectors() -> None:
    """An API server sends no pods that have ended, and nothing that labels leave out."""
    live = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"
    other = parse_label_selector("x=y")

    assert build_selectors(Scope(labels=SELECTOR, namespace_labels=other)) == {
        Namespace: Selector(label="x=y"),
        Service: Selector(label=SELECTOR.text),
        EndpointSlice: Selector(label=SELECTOR.text),
        Pod: Selector(label=SELECTOR.text, field=live),
    }
    assert Scope().kinds == (Namespace, Service, EndpointSlice)
    assert Scope(has_endpoints=False, has_pods=True).kinds == (Namespace, Service, Pod)
