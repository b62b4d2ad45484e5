"""Which commands a fork can run."""

import sys

import pytest

from netns_lab.commands import bare_module, program_path
from netns_lab.launcher.entry import Entry, find_entry

KUBEPROXY, SCHEMA = program_path("kubeproxy"), program_path("netns-lab")


@pytest.mark.parametrize(
    ("command", "entry"),
    [
        pytest.param(
            (KUBEPROXY, "run", "--node-name", "n1"),
            Entry("kubeproxy.cli", "main", (KUBEPROXY, "run", "--node-name", "n1")),
            id="a program",
        ),
        pytest.param(
            bare_module("netns_lab.workload", '{"ports": []}', "x"),
            Entry("netns_lab.workload", "main", ("-c", '{"ports": []}', "x"), is_bare=True),
            id="a bare module",
        ),
        pytest.param((program_path("pytest"),), None, id="a program that is not ours"),
        pytest.param(("/usr/bin/kubeproxy", "run"), None, id="another kubeproxy"),
        pytest.param(("kubeproxy", "run"), None, id="whatever PATH has"),
        pytest.param(("env", "A=1", KUBEPROXY, "run"), None, id="wrapped"),
        pytest.param((sys.executable, "-I", "-S", "-c", "print()", "/"), None, id="other code"),
        pytest.param(("true",), None, id="short"),
    ],
)
def test_find_entry(command: tuple[str, ...], entry: Entry | None) -> None:
    assert find_entry(command) == entry
