"""The options by which every program learns where cluster state comes from."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from nodeplane.runtime.option_types import FILE_PATH

F = TypeVar("F", bound=Callable[..., Any])


def source_options(command: F) -> F:
    """Add `--manifests`, `--kubeconfig` and `--master`, for `nodeplane.kube.open_source` to judge."""
    for option in (
        click.option(
            "--master",
            metavar="URL",
            help="API server to use instead of the kubeconfig's.",
        ),
        click.option(
            "--kubeconfig",
            type=FILE_PATH,
            help="Kubeconfig of the API server to follow; 'in-cluster' means this pod's service account.",
        ),
        click.option(
            "--manifests",
            type=FILE_PATH,
            help="Directory of manifests to follow instead of an API server.",
        ),
    ):
        command = option(command)
    return command
