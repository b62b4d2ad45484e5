"""Ctrl-C at the very beginning, and what else nobody caught."""

import signal
import subprocess
import sys

import pytest

# Ctrl-C comes while this module is imported.
AT_IMPORT = """\
import sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
import {program}
"""


def end(script: str) -> tuple[int, list[str]]:
    """Run a script; return its exit code and the last line that it said."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.splitlines()[-1:]


@pytest.mark.parametrize(
    ("program", "module"),
    [
        ("kubeproxy.cli", "asyncio"),
        ("kubeproxy.cli", "click"),
        ("kubeproxy.cli", "kubeproxy.proxier"),
        ("cni.agent.cli", "cni.bgp.cli"),
        ("ipam.cli", "ipam.handles"),
        ("coredns_lite.cli", "coredns_lite.daemon"),
        ("netns_lab.cli", "click"),
        ("netns_lab.cli", "netns_lab.lab_choice"),
    ],
)
def test_interrupted_while_it_is_imported(program: str, module: str) -> None:
    """The program ends by the signal, which a shell calls 130, and says nothing."""
    assert end(AT_IMPORT.format(program=program, module=module)) == (-signal.SIGINT, [])


def test_a_defect_is_shown() -> None:
    """Everything else has its traceback."""
    assert end("import nodeplane.runtime.interrupt; 1 / 0") == (1, ["ZeroDivisionError: division by zero"])
