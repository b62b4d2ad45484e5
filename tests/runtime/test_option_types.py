"""Options that must not be empty or endless, in every program that has them."""

import click
import pytest
from click.testing import CliRunner

import cni.agent.cli
import coredns_lite.cli
import ipam.cli
import kubeproxy.cli
import netns_lab.cli

PATH = "expected a path, got ''"
NAME = "expected a DNS subdomain name (lower case, digits, '-'), got "


@pytest.mark.parametrize(
    ("program", "arguments", "error"),
    [
        pytest.param(kubeproxy.cli.program, ["run", "--manifests", ""], PATH, id="kubeproxy, manifests"),
        pytest.param(kubeproxy.cli.program, ["plan", "--kubeconfig", ""], PATH, id="kubeproxy, kubeconfig"),
        pytest.param(kubeproxy.cli.program, ["once", "--node-name", ""], NAME + "''", id="kubeproxy, node"),
        pytest.param(cni.agent.cli.program, ["run", "--config", ""], PATH, id="cni-agent, configuration"),
        pytest.param(
            cni.agent.cli.program, ["run", "--node-name", "a_b"], NAME + "'a_b'", id="cni-agent, node"
        ),
        pytest.param(coredns_lite.cli.program, ["run", "--conf", ""], PATH, id="coredns-lite"),
        pytest.param(ipam.cli.program, ["gc", "--node-name", ""], NAME + "''", id="ipamctl"),
        pytest.param(netns_lab.cli.program, ["up", ""], PATH, id="netns-lab"),
        pytest.param(netns_lab.cli.program, ["apiserver", "--data-dir", ""], PATH, id="netns-lab apiserver"),
        *(
            pytest.param(program, [*arguments, text], words, id=f"{arguments[-1]} {text}")
            for program, arguments, least in (
                (kubeproxy.cli.program, ["run", "--min-sync-interval"], "0"),
                (kubeproxy.cli.program, ["show", "--interval"], "0.1"),
                (netns_lab.cli.program, ["apiserver", "--node-grace-s"], "0.1"),
            )
            for text, words in (
                ("nan", "expected a number of seconds, got 'nan'"),
                ("inf", f"inf is not in the range {least}<=x<=86400.0."),
                ("-1", f"-1.0 is not in the range {least}<=x<=86400.0."),
            )
        ),
    ],
)
def test_refused(program: click.Group, arguments: list[str], error: str) -> None:
    """An empty text, as from an unset variable, is wrong usage, and so is a time that never comes."""
    result = CliRunner().invoke(program, arguments, standalone_mode=False)

    assert isinstance(result.exception, click.BadParameter)
    assert (result.exception.message, result.exception.exit_code) == (error, 2)
