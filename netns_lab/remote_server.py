"""A real API server in the place of the lab's own: from a person's kubeconfig to one that works inside.

The lab's namespaces reach the server by a relay on the segment's gateway. Who we are and whom we trust stays
as the person's file says; files that it names stay where they are, so that what is rotated there counts.
"""

from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import yaml

if TYPE_CHECKING:
    from nodeplane.kube.kubeconfig import Target

API_PORT = 6443
"""Where the API server is found on the gateway: kube-apiserver's own default."""

_NAME = "netns-lab"
_FILES = {
    "cluster": ("certificate-authority",),
    "user": ("client-certificate", "client-key", "tokenFile"),
}


class RemoteServer(msgspec.Struct, frozen=True):
    """A server that is not the lab's own: whose file it was, and where it is, seen from the machine."""

    kubeconfig: str
    host: str
    port: int


def read_remote(path: Path) -> RemoteServer:
    """Read which server a kubeconfig leads to.

    Raises:
        ConfigError: it is no kubeconfig, or leads to a server that the lab can't relay to.
    """
    target = _read(path)
    parts = urlsplit(target.cluster.server)
    return RemoteServer(
        str(path.expanduser().absolute()),
        parts.hostname or "",
        parts.port or (443 if parts.scheme == "https" else 80),
    )


def render_inside(path: Path, gateway: IPv4Address) -> bytes:
    """Return the kubeconfig for the lab's own programs: the same server, by the fabric's address.

    Raises:
        ConfigError: as `read_remote`.
    """
    target = _read(path)
    cluster, user = target.cluster, target.user
    parts = urlsplit(cluster.server)
    inside: dict[str, Any] = msgspec.to_builtins(cluster) | {
        "server": urlunsplit(parts._replace(netloc=f"{gateway}:{API_PORT}")),
        # The certificate is for the name that the person's file has, not for the gateway.
        "tls-server-name": cluster.tls_server_name or parts.hostname,
    }
    if parts.scheme == "http":
        del inside["tls-server-name"]
    who: dict[str, Any] = msgspec.to_builtins(user)
    for values, names in ((inside, _FILES["cluster"]), (who, _FILES["user"])):
        values |= {name: str(target.file(values[name])) for name in names if values.get(name)}
    plugin = who.get("exec")
    if plugin:
        # A path is relative to the file, a bare name is not. kubectl wants the mode said.
        plugin.setdefault("interactiveMode", "IfAvailable")
        if "/" in plugin["command"]:
            plugin["command"] = str(target.file(plugin["command"]))
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": inside}],
        "users": [{"name": _NAME, "user": who}],
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME}}],
        "current-context": _NAME,
    }
    return yaml.safe_dump(config, sort_keys=False).encode()


def _read(path: Path) -> "Target":
    # Late: lightkube's models bring its HTTP client along.
    from nodeplane.kube.kubeconfig import read_target

    target = read_target(path.expanduser().absolute(), None)
    if target.cluster.proxy_url is not None:
        raise target.error("cluster", "proxy-url", "expected a server that is reached without a proxy")
    return target
