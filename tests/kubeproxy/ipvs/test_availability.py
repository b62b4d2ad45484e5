"""What a kernel lacks for mode ipvs is said by name."""

from pathlib import Path

import pytest

from kubeproxy.ipvs.availability import find_missing
from tests.kubeproxy.cli_stand import PROGRAM, SHOWN, running, shown
from tests.netns_fixture import namespace, run_in


@pytest.mark.parametrize(
    ("files", "loaded", "missing"),
    [
        pytest.param({}, (), ["ip_vs_mh", "dummy"], id="nothing is known"),
        pytest.param({}, ("dummy",), ["ip_vs_mh"], id="one is loaded"),
        pytest.param(
            {"modules.dep": "kernel/net/netfilter/ipvs/ip_vs_mh.ko.xz: kernel/a.ko\nkernel/dummy.ko:\n"},
            (),
            [],
            id="installed",
        ),
        pytest.param({"modules.builtin": "kernel/net/ip-vs-mh.ko\n"}, ("dummy",), [], id="built in"),
    ],
)
def test_find_missing(
    tmp_path: Path, files: dict[str, str], loaded: tuple[str, ...], missing: list[str]
) -> None:
    (tmp_path / "lib" / "6.1.0").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / "lib" / "6.1.0" / name).write_text(text)
    for name in loaded:
        (tmp_path / "sys" / name).mkdir(parents=True)

    assert (
        find_missing(["ip_vs_mh", "dummy"], "6.1.0", installed=tmp_path / "lib", loaded=tmp_path / "sys")
        == missing
    )


@pytest.mark.netns
@pytest.mark.no_ipvs
@pytest.mark.parametrize("command", ["run", "once", "plan"])
def test_without_ipvs(manifests: Path, command: str) -> None:
    """One line that names the modules, exit code 2, and nothing written."""
    with namespace() as ns:
        inputs = ("--node-name", "n1", "--manifests", str(manifests), "--proxy-mode", "ipvs")
        done = run_in(ns, PROGRAM, command, *inputs)
        left = run_in(ns, "nft", "list", "ruleset").stdout

    assert (done.returncode, done.stdout, left) == (2, "", "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("kubeproxy: mode ipvs: this kernel lacks the module")
    assert " ip_vs" in last


@pytest.mark.netns
@pytest.mark.no_ipvs
def test_auto_falls_back(manifests: Path, tmp_path: Path) -> None:
    """To nftables, and says so."""
    with namespace() as ns:
        with running(ns, manifests, tmp_path, "--proxy-mode", "auto") as program:
            assert shown(ns)[0]["endpoints"] == SHOWN["endpoints"]
        said = (tmp_path / "log").read_text()
        cleanup = run_in(ns, PROGRAM, "cleanup")

    assert program.returncode == 0, said
    assert "WARNING kubeproxy.kernel_edges mode auto is nftables here" in said
    assert cleanup.stdout.count("removed table") == 2


@pytest.mark.netns
def test_cleanup_takes_networks() -> None:
    """What is no network is one line."""
    with namespace() as ns:
        done = run_in(ns, PROGRAM, "cleanup", "--ipvs-exclude-cidrs", "10.0.0.1")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "kubeproxy: --ipvs-exclude-cidrs: expected a CIDR such as 10.0.0.0/8, got '10.0.0.1'\n"
    )
