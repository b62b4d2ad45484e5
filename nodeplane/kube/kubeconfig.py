"""Which API server, and as whom: a kubeconfig file, or the service account that every pod has.

The models are lightkube's, with the fields that it does not read. Everything that can be judged without
asking the server is judged here, with file, line and field.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from lightkube.config import models

from nodeplane.errors import ConfigError
from nodeplane.kube.exec_plugin import API_VERSIONS
from nodeplane.yamldoc import FieldPath, YamlDocument, read_documents

IN_CLUSTER = "in-cluster"
"""Given for a kubeconfig file, the word that means: this pod's service account."""

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

Part = Literal["cluster", "user"]


class Cluster(models.Cluster):
    """Where the server is and how it proves that."""

    tls_server_name: str | None = msgspec.field(name="tls-server-name", default=None)
    proxy_url: str | None = msgspec.field(name="proxy-url", default=None)


class UserExec(models.UserExec):
    """A credential plugin."""

    interactive_mode: str = msgspec.field(name="interactiveMode", default="IfAvailable")
    provide_cluster_info: bool = msgspec.field(name="provideClusterInfo", default=False)


class User(models.User):
    """Who we are and how we prove that."""

    exec: UserExec | None = None
    impersonate: str | None = msgspec.field(name="as", default=None)


class _NamedCluster(msgspec.Struct):
    name: str
    cluster: Cluster


class _NamedUser(msgspec.Struct):
    name: str
    user: User


class _NamedContext(msgspec.Struct):
    name: str
    context: models.Context


class _Kubeconfig(msgspec.Struct):
    # kubectl writes null for an empty list.
    clusters: list[_NamedCluster] | None = None
    contexts: list[_NamedContext] | None = None
    users: list[_NamedUser] | None = None
    current_context: str = msgspec.field(name="current-context", default="")


_Named = TypeVar("_Named", _NamedCluster, _NamedUser, _NamedContext)


class Target(msgspec.Struct, frozen=True):
    """A server and a user of it, with the place that said so.

    Files that they name are relative to `directory`; `paths` lead to the two parts in `document`.
    """

    cluster: Cluster
    user: User
    directory: Path
    document: YamlDocument | None = None
    paths: Mapping[Part, FieldPath] = msgspec.field(default_factory=dict[Part, FieldPath])

    def file(self, name: str) -> Path:
        """Return the path of a file that the configuration names."""
        return self.directory / Path(name).expanduser()

    def error(self, part: Part, field: str, expected: str) -> ConfigError:
        """Build the error about a field of one of the parts."""
        if self.document is None:
            return ConfigError(str(self.directory), field, expected)
        return self.document.error((*self.paths.get(part, ()), field), expected)


def read_target(kubeconfig: Path, master: str | None, context: str | None = None) -> Target:
    """Read a context of a kubeconfig, the current one or `context`; `master` is the URL for its server's.

    The path `in-cluster` means this pod's service account.

    Raises:
        ConfigError: something is wrong or missing; names the file, the line and the field.
    """
    is_ours = str(kubeconfig) == IN_CLUSTER
    target = read_service_account() if is_ours else read_kubeconfig(kubeconfig, context)
    if master is not None:
        if not _is_http_url(master):
            raise ConfigError("--master", "", f"expected an http:// or https:// URL, got {master!r}")
        target = msgspec.structs.replace(
            target, cluster=msgspec.structs.replace(target.cluster, server=master)
        )
    _check(target)
    return target


def read_service_account(
    directory: Path = SERVICE_ACCOUNT, environment: Mapping[str, str] = os.environ
) -> Target:
    """Read where the API server of the pod around us is, and the service account's files.

    Raises:
        ConfigError: there is no pod around us.
    """
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise ConfigError(
            IN_CLUSTER, "", "expected KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, as a pod has them"
        )
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    cluster = Cluster(server=server, certificate_auth=str(directory / "ca.crt"))
    return Target(cluster, User(token_file=str(directory / "token")), directory)


def read_kubeconfig(path: Path, context_name: str | None = None) -> Target:
    """Read a context of a kubeconfig file, the current one unless another is named.

    Raises:
        ConfigError: it is no kubeconfig, or the context leads nowhere.
    """
    documents = read_documents(path.expanduser(), str(path))
    if len(documents) != 1:
        raise ConfigError(str(path), "", f"expected one document, a kubeconfig, got {len(documents)}")
    document = documents[0]
    config = document.convert(_Kubeconfig)
    name = context_name or config.current_context
    if not name:
        raise document.error(("current-context",), "expected the name of a context")
    contexts = config.contexts or []
    at: FieldPath = ("contexts",) if context_name else ("current-context",)
    number = _find(document, contexts, at, name, "context")
    context, path_to = contexts[number].context, ("contexts", number, "context")
    clusters = config.clusters or []
    number = _find(document, clusters, (*path_to, "cluster"), context.cluster, "cluster")
    cluster, paths = clusters[number].cluster, {"cluster": ("clusters", number, "cluster")}
    user = User()
    if context.user:
        users = config.users or []
        number = _find(document, users, (*path_to, "user"), context.user, "user")
        user, paths["user"] = users[number].user, ("users", number, "user")
    return Target(cluster, user, path.expanduser().absolute().parent, document, dict[Any, Any](paths))


def _find(document: YamlDocument, named: Sequence[_Named], at: FieldPath, name: str, noun: str) -> int:
    for number, entry in enumerate(named):
        if entry.name == name:
            return number
    known = ", ".join(sorted(entry.name for entry in named)) or "there are none"
    raise document.error(at, f"expected the name of a {noun}: {known}")


def _check(target: Target) -> None:
    """Refuse what can't work, or would work as somebody else than the file says."""
    cluster, user = target.cluster, target.user
    if not _is_http_url(cluster.server):
        raise target.error("cluster", "server", "expected an http:// or https:// URL")
    if cluster.proxy_url is not None and not _is_http_url(cluster.proxy_url):
        # SOCKS needs another package; kubectl's own users of it are few.
        raise target.error("cluster", "proxy-url", "expected an http:// or https:// URL")
    if cluster.insecure and (cluster.certificate_auth or cluster.certificate_auth_data):
        # As kubectl: either the server is verified or it is not.
        raise target.error("cluster", "insecure-skip-tls-verify", "expected no certificate authority with it")
    has_certificate = bool(user.client_cert or user.client_cert_data)
    if has_certificate != bool(user.client_key or user.client_key_data):
        missing = "client-key" if has_certificate else "client-certificate"
        raise target.error("user", missing, f"expected {missing} or {missing}-data, the other half is there")
    if user.impersonate is not None:
        raise target.error("user", "as", "expected no impersonation")
    if user.auth_provider is not None:
        # Removed from client-go in 1.26 in favour of exec.
        raise target.error("user", "auth-provider", "expected exec or another kind of credentials")
    if user.exec is not None:
        if user.exec.apiVersion not in API_VERSIONS:
            raise target.error("user", "exec", f"expected apiVersion to be one of {', '.join(API_VERSIONS)}")
        if user.exec.interactive_mode == "Always":
            raise target.error("user", "exec", "expected a plugin that needs no terminal (interactiveMode)")


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
