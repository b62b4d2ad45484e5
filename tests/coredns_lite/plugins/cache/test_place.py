"""The cache's place in a chain: what an upstream denied does not hide what others know by now."""

import pytest

from coredns_lite.plugin import Handler
from coredns_lite.plugins import kubernetes
from coredns_lite.plugins.kubernetes.facts import Scope
from coredns_lite.plugins.kubernetes.index import Index
from coredns_lite.wire.reply import Answer, Rcode
from tests.coredns_lite.objects import SERIAL, additions, external_name, namespace, service
from tests.coredns_lite.plugins.links import Place, Seen, Stub, build, records, see

WEB = "web.default.svc.cluster.local."
POINTER = "1.0.96.10.in-addr.arpa."
DENIED = Answer(
    Rcode.NXDOMAIN,
    authority=records(". 300 IN SOA a. b. 1 2 3 4 300"),
    is_authoritative=False,
    is_lasting=False,
    is_cacheable=True,
)
FOUND = Answer(answers=records("@ 300 IN A 192.0.2.1"), is_lasting=False, is_cacheable=True)
UPSTREAM = {(WEB, "A"): DENIED, (POINTER, "PTR"): DENIED, ("example.org.", "A"): FOUND}


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Index:
    """Take the place of every cluster's: one without a Service so far."""
    index = Index(Scope())
    index.apply(additions(namespace("default")), SERIAL)
    monkeypatch.setattr(kubernetes, "Index", lambda _: index)
    return index


def in_cluster(upstream: Stub, *lines: str, zones: str = ".") -> Handler:
    """Build the chain of a cluster's Corefile (kubeadm's, in short)."""
    cluster = "kubernetes cluster.local in-addr.arpa {\nmanifests /m\nfallthrough\n}"
    return build("\n".join(("cache 30", cluster, *lines)), upstream, Place(), zones)


@pytest.mark.parametrize(
    ("name", "rtype", "answer"),
    [
        (WEB, "A", f"{WEB} 5 IN A 10.96.0.1"),
        (POINTER, "PTR", f"{POINTER} 5 IN PTR {WEB}"),
    ],
)
def test_a_service_appears_behind_a_denial(index: Index, name: str, rtype: str, answer: str) -> None:
    """It is found at once, though an upstream's NXDOMAIN for its name is kept and was given until now."""
    upstream = Stub(UPSTREAM, later=True)
    chain = in_cluster(upstream)
    for _ in range(2):
        assert see(chain, name, rtype).rcode == "NXDOMAIN"
    assert upstream.asked == [f"{name} {rtype}"]

    index.apply(additions(service("web", "10.96.0.1")), SERIAL)
    assert see(chain, name, rtype) == Seen(answer=(answer,))


def test_what_an_external_name_leads_to_is_kept(index: Index) -> None:
    """Also where the server block is not the target's; it goes on leading where it does now."""
    index.apply(additions(external_name("a", "example.org")), SERIAL)
    upstream = Stub(UPSTREAM, later=True)
    chain = in_cluster(upstream, zones="cluster.local in-addr.arpa")
    alias = "a.default.svc.cluster.local."
    for _ in range(2):
        answer = see(chain, alias).answer
        assert answer[0] == f"{alias} 5 IN CNAME example.org."
        assert answer[1].endswith("IN A 192.0.2.1")

    assert upstream.asked == ["example.org. A"]


def test_what_is_rewritten_is_kept(index: Index) -> None:
    """By the name that is asked for instead, whichever leads there."""
    upstream = Stub(UPSTREAM, later=True)
    chain = in_cluster(
        upstream, "rewrite name a.cluster.local example.org", "rewrite name b.cluster.local example.org",
        zones="cluster.local",
    )  # fmt: skip
    for name in ("a.cluster.local.", "b.cluster.local."):
        assert [line.split()[0] for line in see(chain, name).answer] == [name]

    assert upstream.asked == ["example.org. A"]
