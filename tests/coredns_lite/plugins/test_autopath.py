"""The plugin `autopath`: the walk down the search path of whoever asks."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from coredns_lite.plugin import Client
from coredns_lite.plugins import autopath
from coredns_lite.plugins.autopath import Autopath, read_search_path
from coredns_lite.plugins.kubernetes import served_zones
from coredns_lite.plugins.kubernetes.facts import Scope
from coredns_lite.plugins.kubernetes.zone import Zone, ZoneOptions
from coredns_lite.wire.names import encode_name
from coredns_lite.wire.reply import Answer, Rcode
from nodeplane.errors import ConfigError
from nodeplane.kube.store import diff_objects
from tests.coredns_lite.objects import build_index, pod, shrunk
from tests.coredns_lite.plugins.links import Place, Seen, Stub, ask, build, decode_site, records

SCOPE = Scope(has_pods=True)
POD = Client(ip_address("10.1.0.1"), 4000, "udp")
NODE = Client(ip_address("192.168.0.1"), 4000, "udp")
STRANGER = Client(ip_address("10.1.0.9"), 4000, "udp")
FULL = "example.com.team.svc.cluster.local."
ANSWERS = {
    ("example.com.", "A"): Answer(answers=records("@ 30 IN A 192.0.2.1"), is_authoritative=False),
    ("example.com.", "AAAA"): Answer(is_authoritative=False),
    ("alias.com.", "A"): Answer(
        answers=records("@ 20 IN CNAME example.com.", "example.com. 30 IN A 192.0.2.1")
    ),
    ("web.default.svc.cluster.local.", "A"): Answer(answers=records("@ 5 IN A 10.96.0.1")),
    ("web.team.svc.cluster.local.", "A"): Answer(answers=records("@ 5 IN A 10.96.0.2")),
    ("broken.com.", "A"): Answer(Rcode.SERVFAIL, is_authoritative=False),
    ("host.corp.example.", "A"): Answer(answers=records("@ 5 IN A 192.0.2.9")),
}


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    """Serve cluster.local with one pod, on a machine that searches corp.example."""
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 10.0.0.1\nsearch corp.example .\n")
    monkeypatch.setattr(autopath, "_RESOLV_CONF", resolv_conf)
    index = build_index(
        pod("a", "10.1.0.1", namespace="team"),
        pod("proxy", "192.168.0.1", namespace="team", on_host=True),
        scope=SCOPE,
    )
    found = Place()
    zone = Zone(encode_name("cluster.local"), index, ZoneOptions(pods="verified"))
    served_zones(found)["cluster.local."] = zone
    return found


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("client", "name", "rtype", "asked", "seen"),
    [
        pytest.param(
            POD,
            "Example.com.team.svc.cluster.local",
            "A",
            [
                "Example.com.team.svc.cluster.local.",
                "example.com.svc.cluster.local.",
                "example.com.cluster.local.",
                "example.com.corp.example.",
                "example.com.",
            ],
            Seen(
                answer=(
                    "Example.com.team.svc.cluster.local. 30 IN CNAME example.com.",
                    "example.com. 30 IN A 192.0.2.1",
                )
            ),
            id="the whole walk, with glue",
        ),
        pytest.param(POD, FULL, "AAAA", None, Seen(), id="a name without the type ends the walk"),
        pytest.param(
            POD,
            "alias.com.team.svc.cluster.local",
            "A",
            None,
            Seen(
                answer=(
                    "alias.com.team.svc.cluster.local. 20 IN CNAME alias.com.",
                    "alias.com. 20 IN CNAME example.com.",
                    "example.com. 30 IN A 192.0.2.1",
                )
            ),
            id="what is found is itself an alias",
        ),
        pytest.param(
            POD,
            "web.default.team.svc.cluster.local",
            "A",
            None,
            Seen(
                answer=(
                    "web.default.team.svc.cluster.local. 5 IN CNAME web.default.svc.cluster.local.",
                    "web.default.svc.cluster.local. 5 IN A 10.96.0.1",
                )
            ),
            id="a Service of another namespace",
        ),
        pytest.param(
            POD,
            "host.team.svc.cluster.local",
            "A",
            None,
            Seen(
                answer=(
                    "host.team.svc.cluster.local. 5 IN CNAME host.corp.example.",
                    "host.corp.example. 5 IN A 192.0.2.9",
                )
            ),
            id="the server's own search path",
        ),
        pytest.param(
            POD,
            "web.team.svc.cluster.local",
            "A",
            ["web.team.svc.cluster.local."],
            Seen(answer=("web.team.svc.cluster.local. 5 IN A 10.96.0.2",)),
            id="found at once",
        ),
        pytest.param(POD, "nx.com.team.svc.cluster.local", "A", None, Seen("NXDOMAIN"), id="nothing found"),
        pytest.param(
            POD, "broken.com.team.svc.cluster.local", "A", None, Seen("SERVFAIL"), id="a failure is no denial"
        ),
        pytest.param(
            POD,
            "example.com.other.svc.cluster.local",
            "A",
            ["example.com.other.svc.cluster.local."],
            Seen("NXDOMAIN"),
            id="another namespace than the pod's",
        ),
        pytest.param(
            POD,
            "team.svc.cluster.local",
            "A",
            ["team.svc.cluster.local."],
            Seen("NXDOMAIN"),
            id="no name in it",
        ),
        pytest.param(STRANGER, FULL, "A", [FULL], Seen("NXDOMAIN"), id="no pod"),
        pytest.param(NODE, FULL, "A", [FULL], Seen("NXDOMAIN"), id="a pod with its node's address"),
        pytest.param(
            POD,
            "example.com",
            "A",
            ["example.com."],
            Seen(answer=("example.com. 30 IN A 192.0.2.1",)),
            id="as it is",
        ),
    ],
)
def test_walk(
    client: Client, name: str, rtype: str, asked: list[str] | None, seen: Seen, *, later: bool, place: Place
) -> None:
    stub = Stub(ANSWERS, later=later)
    found, answer = ask(build("autopath @kubernetes", stub, place), name, rtype, client=client)

    assert found == seen
    assert asked is None or stub.asked == [f"{name} {rtype}" for name in asked]
    assert not answer.is_lasting
    assert not answer.is_cacheable


def test_an_address_that_is_used_again(place: Place) -> None:
    """The namespace is that of the pod that lives there now."""
    handler = build("autopath @kubernetes", Stub(ANSWERS), place)
    zone = served_zones(place)["cluster.local."]
    other = "example.com.other.svc.cluster.local"
    assert [ask(handler, name, client=POD)[0].rcode for name in (FULL, other)] == ["NOERROR", "NXDOMAIN"]

    old = shrunk([pod("a", "10.1.0.1", namespace="team")], SCOPE)
    new = shrunk([pod("b", "10.1.0.1", namespace="other")], SCOPE)
    zone.index.apply(diff_objects(old, new), 1)

    assert [ask(handler, name, client=POD)[0].rcode for name in (FULL, other)] == ["NXDOMAIN", "NOERROR"]


def test_a_file(tmp_path: Path) -> None:
    """One path holds for everybody, and its answers may be kept where nothing was walked."""
    file = tmp_path / "resolv.conf"
    file.write_text("search old.example\nsearch team.svc.cluster.local\n")
    handler = build(f"autopath {file}", Stub(ANSWERS))

    assert ask(handler, FULL)[0].rcode == "NOERROR"
    assert ask(handler, "example.com")[1].is_lasting
    assert read_search_path(file) == (encode_name("team.svc.cluster.local"),)


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("autopath @kubernetes", Autopath((".",))),
        ("autopath a. b. /r", Autopath(("a.", "b."), Path("/r"))),
    ],
)
def test_decode(text: str, config: Autopath) -> None:
    assert decode_site(text).plugins == {"autopath": (config,)}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("autopath", "Corefile:2: autopath: expected @kubernetes or a file with a search path after it"),
        ("autopath @erratic", "Corefile:2: @erratic: expected @kubernetes or a file with a search path"),
        (
            "autopath @kubernetes",
            "dns://:53 .: autopath: expected the plugin kubernetes with `pods verified` in its server block",
        ),
        ("autopath /none/at/all", "/none/at/all: expected a readable file: No such file or directory"),
    ],
)
def test_refused(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(text, Stub())

    assert str(caught.value) == error
