"""Plugins that are run: what they get, and what becomes of their answers."""

from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from cni import delegation
from cni.delegation import find_plugin, run_delegate
from nodeplane.cniresult import Ip, Result, Route
from nodeplane.cnispec import CniError, Request
from nodeplane.errors import ConfigError

CONFIG = b'{"cniVersion": "1.0.0", "name": "net", "ipam": {"type": "fake"}}'


def install(folder: Path, script: str, name: str = "fake") -> Path:
    """Write a plugin as a shell script."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def request(folder: Path) -> Request:
    environ = {"PATH": "/usr/bin:/bin", "CNI_COMMAND": "ADD", "CNI_IFNAME": "eth0", "MORE": "x"}
    return Request("ADD", CONFIG, path=(str(folder),), environ=environ)


def test_the_first_in_the_path_is_taken(tmp_path: Path) -> None:
    for folder in ("b", "c"):
        install(tmp_path / folder, "")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "fake").write_text("not a program")

    path = tuple(str(tmp_path / folder) for folder in ("none", "a", "b", "c"))
    assert find_plugin("fake", path) == tmp_path / "b" / "fake"


@pytest.mark.parametrize(
    ("kind", "path", "message"),
    [
        ("../fake", ("/bin",), "ipam.type: expected a file name, got '../fake'"),
        ("..", ("/bin",), "ipam.type: expected a file name, got '..'"),
        ("fake", (), "ipam.type: expected a plugin in CNI_PATH (no folder), found no 'fake'"),
    ],
)
def test_no_such_plugin(kind: str, path: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_plugin(kind, path)
    assert str(caught.value) == f"network configuration: {message}"


def test_it_gets_environment_and_configuration(tmp_path: Path) -> None:
    install(tmp_path, f'echo "$CNI_COMMAND $CNI_IFNAME $MORE" > {tmp_path}/env; cat > {tmp_path}/stdin')

    assert run_delegate("fake", "DEL", request(tmp_path)) is None

    assert (tmp_path / "env").read_text() == "DEL eth0 x\n"
    assert (tmp_path / "stdin").read_bytes() == CONFIG


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(
            '{"cniVersion": "1.0.0", "ips": [{"address": "10.22.0.5/16", "gateway": "10.22.0.1"}],'
            ' "routes": [{"dst": "0.0.0.0/0"}], "dns": {}}',
            Result(
                ips=(Ip(ip_interface("10.22.0.5/16"), ip_address("10.22.0.1")),),
                routes=(Route(ip_network("0.0.0.0/0")),),
            ),
            id="1.0.0",
        ),
        pytest.param(
            '{"cniVersion": "0.2.0", "ip4": {"ip": "10.22.0.5/16"}, "dns": {"search": null}}',
            Result(ips=(Ip(ip_interface("10.22.0.5/16")),)),
            id="0.2.0",
        ),
    ],
)
def test_its_result(tmp_path: Path, answer: str, expected: Result) -> None:
    install(tmp_path, f"echo '{answer}'")

    assert run_delegate("fake", "ADD", request(tmp_path)) == expected


ERROR = '{"cniVersion": "1.0.0", "code": 11, "msg": "no address", "details": "range is full"}'


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param(f"echo '{ERROR}'; exit 1", (11, "no address", "range is full"), id="its own"),
        pytest.param(
            "echo lost; exit 3",
            (999, "IPAM plugin fake failed at ADD", "exit code 3, stdout 'lost'"),
            id="no JSON",
        ),
        pytest.param(
            "true",
            (6, "IPAM plugin fake answered with no result", "Input data was truncated"),
            id="nothing",
        ),
        pytest.param(
            """echo '{"ips": [{"address": "nowhere"}]}'""",
            (
                6,
                "IPAM plugin fake answered with no result",
                "network configuration: result.ips[0].address: expected an address: 'nowhere' does not "
                "appear to be an IPv4 or IPv6 interface",
            ),
            id="no address",
        ),
    ],
)
def test_its_refusals(tmp_path: Path, script: str, error: tuple[int, str, str]) -> None:
    install(tmp_path, script)

    with pytest.raises(CniError) as caught:
        run_delegate("fake", "ADD", request(tmp_path))
    assert (caught.value.code, caught.value.msg, caught.value.details) == error


def test_one_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "exec sleep 600")
    monkeypatch.setattr(delegation, "_LIMIT_S", 0.2)

    with pytest.raises(CniError) as caught:
        run_delegate("fake", "ADD", request(tmp_path))
    assert (caught.value.code, caught.value.msg) == (11, "IPAM plugin fake gave no answer to ADD")


def test_one_that_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "fake").write_bytes(b"\x7fELFnot")
    (tmp_path / "fake").chmod(0o755)

    with pytest.raises(CniError) as caught:
        run_delegate("fake", "ADD", request(tmp_path))
    assert (caught.value.code, caught.value.msg) == (5, "could not run IPAM plugin fake")


def test_its_stderr_is_ours(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    install(tmp_path, "echo careful >&2")

    run_delegate("fake", "DEL", request(tmp_path))

    assert capfd.readouterr().err == "careful\n"
