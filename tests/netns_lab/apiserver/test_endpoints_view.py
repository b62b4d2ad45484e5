"""Endpoints are what the slices of a Service say, in the older shape."""

from pathlib import Path
from typing import Any

import pytest

from netns_lab.apiserver.endpoints_view import build_endpoints
from tests.netns_lab.apiserver.running import SHOP, SLICES, Client, namespace, run, service

METADATA = {"name": "web", "namespace": "shop", "labels": {"a": "b"}, "creationTimestamp": "T"}
HTTP = [{"name": "http", "port": 8080, "protocol": "TCP"}]
DNS = [{"name": "dns", "port": 53, "protocol": "UDP"}]
READY, UNREADY = {"ready": True}, {"ready": False}


def web(**spec: Any) -> Any:
    return {"metadata": {**METADATA, "uid": "u"}, "spec": {"selector": {"app": "web"}, **spec}}


def piece(*endpoints: Any, ports: Any = HTTP, family: str = "IPv4") -> Any:
    return {"addressType": family, "ports": ports, "endpoints": list(endpoints)}


def endpoint(address: str, conditions: Any = READY, **more: Any) -> Any:
    return {"addresses": [address], "conditions": conditions, **more}


@pytest.mark.parametrize(
    ("slices", "subsets"),
    [
        pytest.param([], None, id="no slices"),
        pytest.param([piece()], None, id="no endpoints"),
        pytest.param(
            [piece(endpoint("10.0.0.10"), endpoint("10.0.0.2", UNREADY), endpoint("10.0.0.3", {}))],
            [
                {
                    "addresses": [{"ip": "10.0.0.3"}, {"ip": "10.0.0.10"}],
                    "notReadyAddresses": [{"ip": "10.0.0.2"}],
                    "ports": HTTP,
                }
            ],
            id="no condition is ready; in the order of addresses",
        ),
        pytest.param(
            [piece(endpoint("10.0.0.1", {"ready": False, "serving": True, "terminating": True}))],
            None,
            id="a pod that is ending",
        ),
        pytest.param(
            [piece(endpoint("10.0.0.1", {"ready": True, "terminating": True}))],
            [{"addresses": [{"ip": "10.0.0.1"}], "ports": HTTP}],
            id="one that is ending and published all the same",
        ),
        pytest.param(
            [
                piece(endpoint("10.0.0.1")),
                piece(endpoint("10.0.0.2")),
                piece(endpoint("10.0.0.1"), ports=DNS),
            ],
            [
                {"addresses": [{"ip": "10.0.0.1"}], "ports": DNS},
                {"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": HTTP},
            ],
            id="slices of the same ports are one subset",
        ),
        pytest.param(
            [piece(endpoint("fd00::1"), family="IPv6"), piece(endpoint("10.0.0.1"))],
            [{"addresses": [{"ip": "10.0.0.1"}], "ports": HTTP}],
            id="the first family alone",
        ),
        pytest.param(
            [piece(endpoint("10.0.0.1"), ports=None)],
            [{"addresses": [{"ip": "10.0.0.1"}]}],
            id="headless without ports",
        ),
        pytest.param(
            [piece(endpoint("10.0.0.1", hostname="h", nodeName="n1", zone="z", targetRef={"kind": "Pod"}))],
            [
                {
                    "addresses": [
                        {"ip": "10.0.0.1", "hostname": "h", "nodeName": "n1", "targetRef": {"kind": "Pod"}}
                    ],
                    "ports": HTTP,
                }
            ],
            id="who is behind it",
        ),
    ],
)
def test_subsets(slices: list[Any], subsets: Any) -> None:
    found = {"subsets": subsets} if subsets else {}

    assert build_endpoints(web(), slices) == {"metadata": METADATA, **found}


@pytest.mark.parametrize(
    ("spec", "slices", "are_there"),
    [
        pytest.param({"selector": None}, [], False, id="no selector and no slices"),
        pytest.param({"selector": None}, [piece()], True, id="slices of somebody's"),
        pytest.param({"type": "ExternalName"}, [piece()], False, id="a name elsewhere"),
    ],
)
def test_which_services_have_endpoints(spec: Any, slices: list[Any], are_there: bool) -> None:
    assert (build_endpoints(web(**spec), slices) is not None) is are_there


def test_read_over_http(tmp_path: Path) -> None:
    """GET and LIST, with selectors and as a table; all else is refused."""

    async def scenario(client: Client) -> None:
        await client.post("/api/v1/namespaces", namespace())
        for name in ("web", "api"):
            body = service(name, selector={"app": name})
            body["metadata"]["labels"] = {"of": name}
            await client.post(f"{SHOP}/services", body)
        metadata = {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}}
        made = await client.post(SLICES, {"metadata": metadata, **piece(endpoint("10.0.0.1"))})

        found = await client.get(f"{SHOP}/endpoints/web")
        assert (found["kind"], found["apiVersion"]) == ("Endpoints", "v1")
        assert found["subsets"] == [{"addresses": [{"ip": "10.0.0.1"}], "ports": HTTP}]
        assert found["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        for path, names in (
            (f"{SHOP}/endpoints", ["api", "web"]),
            ("/api/v1/endpoints", ["api", "web"]),
            (f"{SHOP}/endpoints?labelSelector=of%3Dapi", ["api"]),
            (f"{SHOP}/endpoints?fieldSelector=metadata.name%3Dweb", ["web"]),
            ("/api/v1/namespaces/default/endpoints", []),
        ):
            listed = await client.get(path)
            assert listed["kind"] == "EndpointsList"
            assert [item["metadata"]["name"] for item in listed["items"]] == names
        await client.get(f"{SHOP}/endpoints/nope", code=404)
        for method, path, body in (
            ("POST", f"{SHOP}/endpoints", found),
            ("PUT", f"{SHOP}/endpoints/web", found),
            ("DELETE", f"{SHOP}/endpoints/web", None),
            ("GET", f"{SHOP}/endpoints?watch=1", None),
        ):
            await client.request(method, path, body, code=405)
        table = await client.http.get(
            f"{SHOP}/endpoints", headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        )
        assert [row["cells"][:2] for row in table.json()["rows"]] == [
            ["api", "<none>"],
            ["web", "10.0.0.1:8080"],
        ]

    run(scenario, tmp_path)
