"""The one place where a program's user says where cluster state comes from: files, or an API server."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nodeplane.errors import ConfigError
from nodeplane.kube.api_request import Selector
from nodeplane.kube.objects import Object
from nodeplane.kube.source import Shrink, Source, keep_whole

if TYPE_CHECKING:
    from nodeplane.kube.connection import Observe


def open_source(
    manifests: Path | None,
    kubeconfig: Path | None,
    master: str | None = None,
    selectors: Mapping[type[Object], Selector] | None = None,
    *,
    context: str | None = None,
    shrink: Shrink = keep_whole,
    snapshot_within_s: float | None = None,
    observe: "Observe | None" = None,
) -> Source:
    """Build the source that a user chose with `--manifests`, or with `--kubeconfig` and maybe `--master`.

    `selectors` names the objects of a kind that the program can use. They spare an API server and the
    network; a directory delivers what is there, so the program has to know for itself what it can't use, as
    it can by `shrink`. `context` is one of the kubeconfig's contexts, if not its current one. A server that
    can't be reached is waited for, at most `snapshot_within_s` seconds if that is given. `observe` is told of
    each request to it.

    Raises:
        ConfigError: the user chose both or neither, or a master without a kubeconfig.
    """
    if manifests is not None and kubeconfig is None:
        if master is not None:
            raise ConfigError("--master", "", "expected it together with --kubeconfig only")
        from nodeplane.kube.manifests import ManifestDirectory

        return ManifestDirectory(manifests, shrink=shrink)
    if kubeconfig is not None and manifests is None:
        # Late: an HTTP client costs 100 ms and 15 MB, which a user of manifests need not pay.
        from nodeplane.kube.apiserver import ApiServerSource
        from nodeplane.kube.connection import Connection

        connection = Connection.from_kubeconfig(kubeconfig, master, context=context, observe=observe)
        return ApiServerSource(connection, selectors, snapshot_within_s=snapshot_within_s, shrink=shrink)
    raise ConfigError("--manifests, --kubeconfig", "", "expected exactly one of them")
