"""The documents that clients begin with."""

from netns_lab.apiserver import discovery


def test_core_resources() -> None:
    """The recording's lines for Services, but for the hash."""
    document = discovery.resources("", "v1")

    assert document is not None
    lines = {line["name"]: line for line in document["resources"]}
    services = {name: entry for name, entry in lines["services"].items() if name != "storageVersionHash"}
    assert services == {
        "name": "services",
        "singularName": "service",
        "namespaced": True,
        "kind": "Service",
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        "shortNames": ["svc"],
        "categories": ["all"],
    }
    assert lines["services/status"] == {
        "name": "services/status",
        "singularName": "",
        "namespaced": True,
        "kind": "Service",
        "verbs": ["get", "patch", "update"],
    }
    assert "deletecollection" not in lines["namespaces"]["verbs"]


def test_groups() -> None:
    assert [group["name"] for group in discovery.groups()["groups"]] == [
        "discovery.k8s.io",
        "coordination.k8s.io",
        "networking.k8s.io",
    ]
    assert discovery.group("apps") is None
    assert discovery.resources("discovery.k8s.io", "v1beta1") is None


def test_endpoints_are_read_alone() -> None:
    document = discovery.resources("", "v1")

    assert document is not None
    assert {line["name"]: line for line in document["resources"]}["endpoints"] == {
        "name": "endpoints",
        "singularName": "endpoints",
        "namespaced": True,
        "kind": "Endpoints",
        "verbs": ["get", "list"],
        "shortNames": ["ep"],
    }
