"""What an API server would refuse of any object and of nodes; it refuses nothing that one has sent."""

import msgspec
import pytest

from nodeplane.kube.objects import EndpointSlice, Namespace, Node, Object, Pod, Service
from nodeplane.kube.validation import label_problems, problems
from nodeplane.yamldoc import Problem
from tests.kube.expectations import LABEL
from tests.kube.recordings import recorded_items

SUBDOMAIN = "expected a DNS subdomain name (lower case, digits, '-')"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param("list-endpointslices.json", EndpointSlice, id="EndpointSlice"),
        pytest.param("list-services.json", Service, id="Service"),
        pytest.param("list-namespaces.json", Namespace, id="Namespace"),
        pytest.param("list-nodes.json", Node, id="Node"),
        pytest.param("list-pods.json", Pod, id="Pod"),
    ],
)
def test_recorded_objects_are_valid(name: str, kind: type[Object]) -> None:
    """What a real API server holds has no problem."""
    items = [msgspec.convert(item, kind) for item in recorded_items(name)]

    assert items
    assert [problem for item in items for problem in problems(item)] == []


@pytest.mark.parametrize(
    ("kind", "name", "namespace", "expected"),
    [
        pytest.param(Service, "web-1", "default", [], id="service"),
        pytest.param(Service, "a" * 63, "a", [], id="longest label"),
        pytest.param(Service, "a" * 64, "a", [(("metadata", "name"), LABEL)], id="label too long"),
        pytest.param(Service, "a.b", "a", [(("metadata", "name"), LABEL)], id="service with a dot"),
        pytest.param(Service, "Web", "a", [(("metadata", "name"), LABEL)], id="upper case"),
        pytest.param(Service, "-a", "a", [(("metadata", "name"), LABEL)], id="dash first"),
        pytest.param(Service, "a-", "a", [(("metadata", "name"), LABEL)], id="dash last"),
        pytest.param(Service, "a\n", "a", [(("metadata", "name"), LABEL)], id="line end"),
        pytest.param(Service, "", "a", [(("metadata", "name"), LABEL)], id="empty"),
        pytest.param(Service, "ä", "a", [(("metadata", "name"), LABEL)], id="not ASCII"),
        pytest.param(Service, "a", "a.b", [(("metadata", "namespace"), LABEL)], id="namespace with a dot"),
        pytest.param(Service, "a", "", [(("metadata", "namespace"), LABEL)], id="no namespace"),
        pytest.param(Pod, "a.b", "a", [], id="pod with a dot"),
        pytest.param(Pod, "a..b", "a", [(("metadata", "name"), SUBDOMAIN)], id="empty label"),
        pytest.param(Pod, ".".join(["a" * 49] * 5) + ".bcd", "a", [], id="longest name"),
        pytest.param(
            Pod, ".".join(["a" * 49] * 5) + ".bcde", "a", [(("metadata", "name"), SUBDOMAIN)], id="too long"
        ),
        pytest.param(Node, "n1.example.org", "", [], id="node has no namespace"),
        pytest.param(Namespace, "a.b", "", [(("metadata", "name"), LABEL)], id="name of a namespace"),
    ],
)
def test_metadata(kind: type[Object], name: str, namespace: str, expected: list[Problem]) -> None:
    """Names are DNS names (RFC 1123), those that become one DNS label are labels."""
    item = msgspec.convert({"metadata": {"name": name, "namespace": namespace}, "addressType": "IPv4"}, kind)
    found = [problem for problem in problems(item) if problem[0][0] == "metadata"]

    assert found == expected


@pytest.mark.parametrize(
    ("kind", "address", "expected"),
    [
        pytest.param("InternalIP", "172.30.0.1", [], id="address"),
        pytest.param("Hostname", "n1", [], id="a name is no address"),
        pytest.param(
            "InternalIP",
            "n1",
            [(("status", "addresses", 0, "address"), "expected an IP address")],
            id="InternalIP",
        ),
        pytest.param(
            "ExternalIP",
            "",
            [(("status", "addresses", 0, "address"), "expected an IP address")],
            id="ExternalIP",
        ),
    ],
)
def test_node(kind: str, address: str, expected: list[Problem]) -> None:
    """The addresses that are used as addresses must be some."""
    status = {"addresses": [{"type": kind, "address": address}]}
    item = msgspec.convert({"metadata": {"name": "n1"}, "status": status}, Node)

    assert [*problems(item)] == expected


@pytest.mark.parametrize(
    ("cidrs", "expected"),
    [
        pytest.param(None, [], id="none yet"),
        pytest.param(["10.244.1.0/24", "fd00:10:244:1::/64"], [], id="both families"),
        *(
            pytest.param(
                [text], [(("spec", "podCIDRs", 0), "expected a network, e.g. 10.244.0.0/24")], id=text
            )
            for text in ("bad", "10.244.1.0", "10.244.1.0/33")
        ),
        pytest.param(
            ["10.244.1.0/24", "10.244.2.0/24"],
            [(("spec", "podCIDRs", 1), "expected at most one network of each family")],
            id="a family twice",
        ),
    ],
)
def test_pod_networks(cidrs: list[str] | None, expected: list[Problem]) -> None:
    """The networks of a node's pods must be some (ValidateNode in k/k pkg/apis/core/validation)."""
    item = msgspec.convert({"metadata": {"name": "n1"}, "spec": {"podCIDRs": cidrs}}, Node)

    assert [*problems(item)] == expected


@pytest.mark.parametrize(
    ("key", "text", "wrong"),
    [
        pytest.param("app", "web", "", id="plain"),
        pytest.param("example.com/app", "A.b_c-1", "", id="prefix"),
        pytest.param("app", "", "", id="no value"),
        pytest.param("a" * 63, "b" * 63, "", id="63"),
        pytest.param("a" * 64, "b", "key", id="key of 64"),
        pytest.param("a", "b" * 64, "value", id="value of 64"),
        pytest.param("", "b", "key", id="no key"),
        pytest.param("/app", "b", "key", id="empty prefix"),
        pytest.param("a/b/c", "d", "key", id="two slashes"),
        pytest.param("Example.com/app", "b", "key", id="capitals in a prefix"),
        pytest.param("-a", "b", "key", id="begins with a dash"),
        pytest.param("a\n", "b", "key", id="ends with a newline"),
        pytest.param("a", "b.", "value", id="ends with a dot"),
        pytest.param("a", "b/c", "value", id="slash in a value"),
    ],
)
def test_labels(key: str, text: str, wrong: str) -> None:
    found = [(path, "value" if "value" in words else "key") for path, words in label_problems({key: text})]

    assert found == ([((key,), wrong)] if wrong else [])
