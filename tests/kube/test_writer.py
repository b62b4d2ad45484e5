"""Objects written one by one: applied, deleted, read back, refused."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from netns_lab.apiserver.serve import ServerConfig, serve
from nodeplane.errors import ApiError
from nodeplane.kube.connection import Connection
from nodeplane.kube.objects import EndpointSlice, Namespace, Node, Object, ObjectKey, Service
from nodeplane.kube.session import RefusedError
from nodeplane.kube.writer import Writer, object_path

T = TypeVar("T")
WEB = ObjectKey(Service, "default", "web")
N1 = ObjectKey(Node, "", "n1")


@pytest.mark.parametrize(
    ("kind", "namespace", "path"),
    [
        pytest.param(Service, "default", "api/v1/namespaces/default/services/x", id="core"),
        pytest.param(
            EndpointSlice,
            "default",
            "apis/discovery.k8s.io/v1/namespaces/default/endpointslices/x",
            id="of a group",
        ),
        pytest.param(Node, "", "api/v1/nodes/x", id="of the cluster"),
        pytest.param(Namespace, "", "api/v1/namespaces/x", id="a namespace itself"),
    ],
)
def test_object_path(kind: type[Object], namespace: str, path: str) -> None:
    assert object_path(ObjectKey(kind, namespace, "x")) == path


def on_server(folder: Path, scenario: Callable[[Writer, Writer], Awaitable[T]]) -> T:
    """Run a scenario with two managers of one server."""

    async def main() -> T:
        async with serve(ServerConfig(folder, store="memory://")) as server:
            connection = Connection.from_kubeconfig(server.kubeconfig, is_direct=True)
            async with await connection.open() as client:
                return await scenario(Writer(client, "one"), Writer(client, "two"))

    return asyncio.run(main())


def web(**spec: Any) -> dict[str, Any]:
    """Return a Service."""
    given = {"ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": given}


async def find(writer: Writer, key: ObjectKey) -> dict[str, Any] | None:
    """Return an object as the server lists it."""
    for value in await writer.read(key.kind):
        if value["metadata"]["name"] == key.name:
            return value
    return None


def test_apply(tmp_path: Path) -> None:
    """What one sets stays while others write, and goes when it sets it no more; the same again is none."""

    async def scenario(one: Writer, two: Writer) -> list[Any]:
        await one.apply(WEB, web(selector={"app": "web"}))
        first = await find(one, WEB)
        await one.apply(WEB, web(selector={"app": "web"}))
        second = await find(one, WEB)
        await two.apply(WEB, web(sessionAffinity="ClientIP"))
        await one.apply(WEB, web())
        third = await find(one, WEB)
        assert first is not None
        assert third is not None
        before, after = first["spec"], third["spec"]
        assert before["clusterIP"] == after["clusterIP"]
        return [first["kind"], first == second, bool(after.get("selector")), after["sessionAffinity"]]

    assert on_server(tmp_path, scenario) == ["Service", True, False, "ClientIP"]


def test_apply_overrules(tmp_path: Path) -> None:
    async def scenario(one: Writer, two: Writer) -> Any:
        await one.apply(WEB, web(selector={"app": "one"}))
        await two.apply(WEB, web(selector={"app": "two"}))
        found = await find(one, WEB)
        assert found is not None
        return found["spec"]["selector"]

    assert on_server(tmp_path, scenario) == {"app": "two"}


def test_status(tmp_path: Path) -> None:
    """It has a place of its own."""

    async def scenario(one: Writer, _: Writer) -> Any:
        head = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
        addresses = [{"type": "InternalIP", "address": "172.30.0.2"}]
        await one.apply(N1, head)
        await one.apply(N1, {**head, "status": {"addresses": addresses}}, "status")
        found = await find(one, N1)
        assert found is not None
        return found["status"]["addresses"] == addresses

    assert on_server(tmp_path, scenario)


def test_merge(tmp_path: Path) -> None:
    """Two addresses of one type, which can't be applied; a list takes the place of the list."""
    old = [{"type": "InternalIP", "address": "172.30.0.2"}, {"type": "Hostname", "address": "n1"}]
    both = [{"type": "InternalIP", "address": address} for address in ("172.30.0.2", "fd00::2")]

    async def scenario(one: Writer, _: Writer) -> Any:
        await one.apply(N1, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
        await one.merge(N1, {"status": {"addresses": old}}, "status")
        await one.merge(N1, {"status": {"addresses": both}}, "status")
        found = await find(one, N1)
        assert found is not None
        return found["status"]["addresses"] == both

    assert on_server(tmp_path, scenario)


def test_get(tmp_path: Path) -> None:
    """As the list has it; one that is not there is None."""

    async def scenario(one: Writer, _: Writer) -> Any:
        before = await one.get(N1)
        await one.apply(N1, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
        return before, await one.get(N1) == await find(one, N1)

    assert on_server(tmp_path, scenario) == (None, True)


def test_delete(tmp_path: Path) -> None:
    """Only the very object: one that has taken its name stays, one that is not there is fine."""

    async def scenario(one: Writer, _: Writer) -> Any:
        await one.apply(WEB, web())
        found = await find(one, WEB)
        assert found is not None
        with pytest.raises(RefusedError) as caught:
            await one.delete(WEB, "another")
        await one.delete(WEB, found["metadata"]["uid"])
        await one.delete(WEB, found["metadata"]["uid"])
        return caught.value.code, await find(one, WEB)

    assert on_server(tmp_path, scenario) == (409, None)


def test_refused(tmp_path: Path) -> None:
    """The server's own words, with what was asked."""

    async def scenario(one: Writer, _: Writer) -> str:
        with pytest.raises(RefusedError) as caught:
            await one.apply(WEB, web(ports=[{"port": 99999}]))
        return str(caught.value)

    assert on_server(tmp_path, scenario).startswith("apply Service/default/web: 4")


def test_nobody_there(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "{clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}],"
        " contexts: [{name: c, context: {cluster: c}}], current-context: c}"
    )

    async def scenario() -> None:
        async with await Connection.from_kubeconfig(kubeconfig).open() as client:
            await Writer(client, "one").read(Node)

    with pytest.raises(ApiError, match="list Node: "):
        asyncio.run(scenario())
