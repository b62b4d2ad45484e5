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
    ]
    assert discovery.group("apps") is None
    assert discovery.resources("discovery.k8s.io", "v1beta1") is None


def test_an_empty_openapi_document() -> None:
    """swagger "2.0", info, and paths and definitions that are there and empty."""
    info = b"\x0a\x09netns-lab\x12" + bytes([len(discovery.GIT_VERSION)]) + discovery.GIT_VERSION.encode()

    assert discovery.openapi_v2() == b"\x0a\x032.0\x12" + bytes([len(info)]) + info + b"\x42\x00\x4a\x00"
