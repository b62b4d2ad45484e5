"""The way to an API server: trust, identity and proxies, and that each of them may change at any time."""

import asyncio
import json
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from nodeplane.errors import ConfigError
from nodeplane.kube.apiserver import ApiServerSource
from nodeplane.kube.connection import Connection
from nodeplane.kube.kubeconfig import read_service_account
from nodeplane.kube.objects import Service
from tests.kube.api_cluster import QUICK
from tests.kube.certificates import Authority
from tests.kube.model_server import ModelServer
from tests.kube.objects import keyed, service
from tests.kube.peer import Peer, Reply, Request
from tests.kube.reading import reading

WEB, DB = service("web"), service("db")
OK = {"major": "1"}


def write_kubeconfig(folder: Path, cluster: dict[str, Any], user: dict[str, Any] | None = None) -> Path:
    """Write a kubeconfig as most programs do, by moving it into place."""
    document = {
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me"}}],
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": "me", "user": user or {}}],
    }
    draft = folder / ".kubeconfig"
    draft.write_text(json.dumps(document))
    return draft.rename(folder / "kubeconfig")


async def ask(kubeconfig: Path) -> int:
    """Ask for the version; return the status."""
    async with await Connection.from_kubeconfig(kubeconfig).open() as client:
        return (await client.get("version")).status_code


def accept(expected: str) -> Callable[[Request, Reply], Awaitable[None]]:
    """Answer whoever comes with these words in Authorization."""

    async def handle(request: Request, reply: Reply) -> None:
        if request.headers.get("authorization", "") == expected:
            await reply.json(OK)
        else:
            await reply.status(401, "Unauthorized")

    return handle


def plugin(folder: Path, *answers: dict[str, Any], api: str = "v1") -> dict[str, Any]:
    """Write a credential plugin that gives these answers in turn, the last one for ever; return its user."""
    version = f"client.authentication.k8s.io/{api}"
    documents = [{"apiVersion": version, "kind": "ExecCredential", "status": answer} for answer in answers]
    script = folder / "plugin"
    script.write_text(
        f"#!{sys.executable}\n"
        "import json, os, pathlib, sys\n"
        "runs = pathlib.Path(__file__).with_suffix('.runs')\n"
        "info = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "lines = runs.read_text().splitlines() if runs.exists() else []\n"
        "lines.append(json.dumps([info, sys.argv[1:], os.environ['REGION']]))\n"
        "runs.write_text('\\n'.join(lines))\n"
        f"answers = {json.dumps(documents)!r}\n"
        "answers = json.loads(answers)\n"
        "print(json.dumps(answers[min(len(lines), len(answers)) - 1]))\n"
    )
    script.chmod(0o755)
    env = [{"name": "REGION", "value": "eu"}]
    return {"exec": {"apiVersion": version, "command": "./plugin", "args": ["-v"], "env": env}}


def runs(folder: Path) -> list[Any]:
    """Return what the plugin was told, each time."""
    return [json.loads(line) for line in (folder / "plugin.runs").read_text().splitlines()]


@pytest.mark.parametrize(
    ("user", "authorization"),
    [
        pytest.param({}, "", id="nobody"),
        pytest.param({"token": "abc"}, "Bearer abc", id="token"),
        pytest.param({"tokenFile": "token"}, "Bearer from-file", id="token file beside the kubeconfig"),
        pytest.param(
            {"token": "abc", "tokenFile": "token"}, "Bearer from-file", id="a token file comes first"
        ),
        pytest.param({"username": "a", "password": "b"}, "Basic YTpi", id="password"),
    ],
)
def test_who_we_are(tmp_path: Path, user: dict[str, Any], authorization: str) -> None:
    """Each kind of credentials arrives at the server."""
    (tmp_path / "token").write_text("from-file\n")

    async def walk() -> int:
        async with Peer(accept(authorization)) as peer:
            return await ask(write_kubeconfig(tmp_path, {"server": peer.url}, user))

    assert asyncio.run(walk()) == 200


@pytest.mark.parametrize("api", ["v1", "v1beta1"])
def test_exec_plugin(tmp_path: Path, api: str) -> None:
    """The plugin is told what the kubeconfig says, and asked once for many requests."""
    user = plugin(tmp_path, {"token": "abc"}, api=api)
    user["exec"]["provideClusterInfo"] = True

    async def walk() -> tuple[str, list[int]]:
        async with Peer(accept("Bearer abc")) as peer:
            connection = Connection.from_kubeconfig(write_kubeconfig(tmp_path, {"server": peer.url}, user))
            codes = []
            for _ in range(2):
                async with await connection.open() as client:
                    codes += [(await client.get("version")).status_code for _ in range(2)]
            return peer.url, codes

    url, codes = asyncio.run(walk())
    request = {
        "apiVersion": f"client.authentication.k8s.io/{api}",
        "kind": "ExecCredential",
        "spec": {"interactive": False, "cluster": {"server": url}},
    }
    assert (codes, runs(tmp_path)) == ([200] * 4, [[request, ["-v"], "eu"]])


@pytest.mark.parametrize(
    ("first", "expected_runs"),
    [
        pytest.param({"token": "old"}, 2, id="refused"),
        pytest.param({"token": "new", "expirationTimestamp": "2020-01-01T00:00:00Z"}, 2, id="expired"),
        pytest.param({"token": "new", "expirationTimestamp": "2999-01-01T00:00:00Z"}, 1, id="valid"),
    ],
)
def test_exec_plugin_is_asked_again(tmp_path: Path, first: dict[str, Any], expected_runs: int) -> None:
    """An answer that the server refuses, or that has expired, is of no use any more."""
    user = plugin(tmp_path, first, {"token": "new"})

    async def walk() -> int:
        async with Peer(accept("Bearer new")) as peer:
            return await ask(write_kubeconfig(tmp_path, {"server": peer.url}, user))

    assert (asyncio.run(walk()), len(runs(tmp_path))) == (200, expected_runs)


@pytest.mark.parametrize("source", ["files", "data", "plugin"])
def test_client_certificates(tmp_path: Path, source: str) -> None:
    """A server that demands a certificate gets it, wherever the kubeconfig has it from."""
    authority = Authority()
    certificate, key = authority.issue("me")
    (tmp_path / "me.crt").write_bytes(certificate)
    (tmp_path / "me.key").write_bytes(key)
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    credential = {"clientCertificateData": certificate.decode(), "clientKeyData": key.decode()}
    user = {
        "files": {"client-certificate": "me.crt", "client-key": "me.key"},
        "data": {
            "client-certificate-data": b64encode(certificate).decode(),
            "client-key-data": b64encode(key).decode(),
        },
        "plugin": plugin(tmp_path, credential),
    }[source]
    context = authority.server_context(tmp_path, asks_clients=True)

    async def walk() -> int:
        async with Peer(accept(""), context) as peer:
            cluster = {"server": peer.url, "certificate-authority-data": b64encode(authority.pem).decode()}
            return await ask(write_kubeconfig(tmp_path, cluster, user))

    assert asyncio.run(walk()) == 200


@pytest.mark.parametrize(
    ("hosts", "cluster", "is_trusted"),
    [
        pytest.param(("127.0.0.1",), {"certificate-authority": "ca.crt"}, True, id="trusted"),
        pytest.param(("127.0.0.1",), {"certificate-authority": "other.crt"}, False, id="another authority"),
        pytest.param(("127.0.0.1",), {}, False, id="no authority"),
        pytest.param(("kubernetes",), {"certificate-authority": "ca.crt"}, False, id="another name"),
        pytest.param(
            ("kubernetes",),
            {"certificate-authority": "ca.crt", "tls-server-name": "kubernetes"},
            True,
            id="the name that was asked for",
        ),
        pytest.param(("kubernetes",), {"insecure-skip-tls-verify": True}, True, id="not verified"),
    ],
)
def test_trust(tmp_path: Path, hosts: tuple[str, ...], cluster: dict[str, Any], is_trusted: bool) -> None:
    """A server proves that it is the one the kubeconfig means, or nothing is sent to it."""
    authority = Authority()
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    (tmp_path / "other.crt").write_bytes(Authority().pem)

    async def walk() -> int:
        async with Peer(accept("Bearer secret"), authority.server_context(tmp_path, hosts)) as peer:
            kubeconfig = write_kubeconfig(tmp_path, {"server": peer.url, **cluster}, {"token": "secret"})
            if is_trusted:
                assert await ask(kubeconfig) == 200
            else:
                with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                    await ask(kubeconfig)
            return len(peer.requests)

    assert asyncio.run(walk()) == is_trusted


def test_everything_rotates(tmp_path: Path) -> None:
    """Authority, certificate and token change under a running source; it follows, and nothing is lost."""

    async def walk() -> None:
        model = ModelServer(token="one")  # noqa: S106  # as secret as this test
        await model.put(WEB)
        authority = Authority()
        (tmp_path / "ca.crt").write_bytes(authority.pem)
        (tmp_path / "token").write_text("one")
        peer = Peer(model.handle, authority.server_context(tmp_path))
        async with peer:
            cluster = {"server": peer.url, "certificate-authority": "ca.crt"}
            kubeconfig = write_kubeconfig(tmp_path, cluster, {"tokenFile": "token"})
            source = ApiServerSource(Connection.from_kubeconfig(kubeconfig), timing=QUICK)
            async with reading(source, Service, always=[WEB]) as reader:
                # The token: the server stops taking the old one.
                model.token = "two"  # noqa: S105  # as secret as this test
                (tmp_path / "token").write_text("two")
                await peer.hang_up()
                await model.put(DB)
                await reader.until(keyed(WEB, DB))
                # Certificate and authority: for a while the server is nobody that we trust.
                await peer.__aexit__(None, None, None)
                authority = Authority()
                async with Peer(model.handle, authority.server_context(tmp_path), peer.port) as successor:
                    await model.delete(DB.key)
                    # The kubeconfig is broken for a moment, which changes nothing.
                    kubeconfig.write_text("{")
                    await asyncio.sleep(0.2)
                    assert successor.requests == []
                    write_kubeconfig(tmp_path, cluster, {"tokenFile": "token"})
                    (tmp_path / "ca.crt").write_bytes(authority.pem)
                    await reader.until(keyed(WEB))
            await peer.__aenter__()

    asyncio.run(walk())


def test_service_account(tmp_path: Path) -> None:
    """A pod's own credentials; its token is read again for every request."""
    authority = Authority()
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    (tmp_path / "token").write_text("one")

    async def walk() -> list[str]:
        async with Peer(accept("-"), authority.server_context(tmp_path)) as peer:
            environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(peer.port)}
            async with await Connection(lambda: read_service_account(tmp_path, environment)).open() as client:
                await client.get("version")
                (tmp_path / "token").write_text("two")
                await client.get("version")
                (tmp_path / "token").unlink()
                await client.get("version")
            return [request.headers["authorization"] for request in peer.requests]

    assert asyncio.run(walk()) == ["Bearer one", "Bearer two", "Bearer two"]


@pytest.mark.parametrize("by", ["kubeconfig", "environment"])
def test_proxy(tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests go through the kubeconfig's proxy or the environment's, but not those to loopback."""
    for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def walk() -> list[str]:
        async with Peer(accept("")) as proxy:
            cluster = {"server": "http://192.0.2.1:6443"}
            if by == "kubeconfig":
                cluster["proxy-url"] = proxy.url
            else:
                monkeypatch.setenv("http_proxy", proxy.url)
            assert await ask(write_kubeconfig(tmp_path, cluster)) == 200
            async with Peer(accept("")) as peer:
                assert await ask(write_kubeconfig(tmp_path, {"server": peer.url})) == 200
            return [request.path for request in proxy.requests]

    assert asyncio.run(walk()) == ["/version"]


NO_CA = "expected a readable file: No such file or directory, got 'none'"


@pytest.mark.parametrize(
    ("cluster", "user", "expected"),
    [
        pytest.param(
            {"certificate-authority": "none"}, {}, f"cluster.certificate-authority: {NO_CA}", id="no CA"
        ),
        pytest.param(
            {"certificate-authority": "empty"},
            {},
            "cluster.certificate-authority: expected PEM",
            id="empty CA",
        ),
        pytest.param(
            {"certificate-authority-data": "!"},
            {},
            "cluster.certificate-authority-data: expected PEM",
            id="no base64",
        ),
        pytest.param(
            {},
            {"client-certificate": "none", "client-key": "none"},
            f"user.client-certificate: {NO_CA}",
            id="no file",
        ),
        pytest.param(
            {},
            {"client-certificate": "empty", "client-key": "empty"},
            "user.client-certificate: expected PEM",
            id="empty",
        ),
        pytest.param({}, {"tokenFile": "none"}, "none: expected a readable token", id="no token file"),
        pytest.param(
            {}, {"tokenFile": "empty"}, "empty: expected a token, the file is empty", id="empty token file"
        ),
        pytest.param(
            {},
            {
                "exec": {
                    "apiVersion": "client.authentication.k8s.io/v1",
                    "command": "./none",
                    "installHint": "get\nit",
                }
            },
            "none: expected a program: No such file or directory (get it)",
            id="no plugin",
        ),
    ],
)
def test_wrong_files(tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], expected: str) -> None:
    """A file that a kubeconfig names is judged with it: one line with the place."""
    (tmp_path / "empty").write_text("")
    kubeconfig = write_kubeconfig(tmp_path, {"server": "https://127.0.0.1:9", **cluster}, user)

    with pytest.raises(ConfigError) as caught:
        asyncio.run(ask(kubeconfig))

    assert expected in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_key_is_not_printed(tmp_path: Path) -> None:
    """What TLS refuses may be somebody's key: the error says where it is, not what."""
    user = {"client-certificate-data": "c2VjcmV0", "client-key-data": "c2VjcmV0"}
    kubeconfig = write_kubeconfig(tmp_path, {"server": "https://127.0.0.1:9"}, user)

    with pytest.raises(ConfigError, match="client-certificate-data: expected PEM") as caught:
        asyncio.run(ask(kubeconfig))

    assert "c2VjcmV0" not in str(caught.value)


def test_a_proxy_of_another_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SOCKS proxy in the environment is an error that names where it comes from."""
    monkeypatch.setenv("all_proxy", "socks5://192.0.2.1:1")
    kubeconfig = write_kubeconfig(tmp_path, {"server": "http://192.0.2.2:6443"})

    with pytest.raises(ConfigError, match="HTTPS_PROXY, ALL_PROXY: expected http"):
        asyncio.run(ask(kubeconfig))
