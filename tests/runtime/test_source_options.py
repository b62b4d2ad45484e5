"""The options that say where cluster state comes from."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from nodeplane.runtime.source_options import source_options


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param([], {"manifests": None, "kubeconfig": None, "master": None}, id="none"),
        pytest.param(
            ["--manifests", "m", "--kubeconfig", "in-cluster", "--master", "u"],
            {"manifests": Path("m"), "kubeconfig": Path("in-cluster"), "master": "u"},
            id="all",
        ),
    ],
)
def test_options(arguments: list[str], expected: dict[str, Any]) -> None:
    """They reach the command as they are; which may go together is judged elsewhere."""
    seen: list[dict[str, Any]] = []

    @click.command()
    @source_options
    def command(**options: object) -> None:
        seen.append(options)

    assert CliRunner().invoke(command, arguments).exit_code == 0
    assert seen == [expected]
