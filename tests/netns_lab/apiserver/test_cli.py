"""`netns-lab apiserver` as a program: it stops cleanly, starts again where it was, refuses wrong options."""

import json
import ssl
import subprocess
import urllib.request
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.netns_lab.apiserver.etcd import etcd
from tests.netns_lab.apiserver.process import PROGRAM, apiserver
from tests.ready_process import READY_WITHIN_S, stop


def ask(directory: Path, path: str, body: Any = None) -> HTTPResponse:
    """Ask the server as its kubeconfig says."""
    config = yaml.safe_load((directory / "kubeconfig").read_text())
    url = config["clusters"][0]["cluster"]["server"] + path
    headers = {
        "Authorization": f"Bearer {config['users'][0]['user']['token']}",
        "Content-Type": "application/json",
    }
    content = None if body is None else json.dumps(body).encode()
    context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    asked = urllib.request.Request(url, content, headers)  # noqa: S310  # https, by our own kubeconfig
    answer = urllib.request.urlopen(asked, context=context, timeout=READY_WITHIN_S)  # noqa: S310
    assert isinstance(answer, HTTPResponse)
    return answer


def request(directory: Path, path: str, body: Any = None) -> Any:
    with ask(directory, path, body) as answer:
        return json.load(answer)


def run_to_its_end(directory: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [PROGRAM, "apiserver", "--data-dir", str(directory), *options],
        capture_output=True,
        text=True,
        timeout=READY_WITHIN_S,
        check=False,
    )


def test_a_killed_server_comes_back_with_what_it_had(tmp_path: Path) -> None:
    maps = "/api/v1/namespaces/default/configmaps"
    with apiserver(tmp_path) as process:
        created = request(tmp_path, maps, {"metadata": {"name": "x"}, "data": {"a": "1"}})
        process.kill()
        process.wait(READY_WITHIN_S)
    with apiserver(tmp_path) as process:
        found = request(tmp_path, f"{maps}/x")
        more = request(tmp_path, maps, {"metadata": {"name": "y"}})
        code, _ = stop(process)

    assert found == created
    assert int(more["metadata"]["resourceVersion"]) > int(created["metadata"]["resourceVersion"])
    assert code == 0


def test_secrets_are_their_owners(tmp_path: Path) -> None:
    with apiserver(tmp_path):
        modes = {
            name: (tmp_path / name).stat().st_mode & 0o777 for name in ("token", "kubeconfig", "server.key")
        }

    assert modes == {"token": 0o600, "kubeconfig": 0o600, "server.key": 0o600}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["--listen", "here"], "--listen: here: expected ADDRESS:PORT", id="address"),
        pytest.param(["--listen", "127.0.0.1:70000"], "expected ADDRESS:PORT", id="port"),
        pytest.param(
            ["--service-cidr", "10.96.0.1/16"], "--service-cidr: 10.96.0.1/16: expected CIDRs", id="cidr"
        ),
        pytest.param(
            ["--service-cidr", "10.0.0.0/16,10.1.0.0/16"],
            "at most one CIDR of each family",
            id="two of a family",
        ),
        pytest.param(["--service-node-port-range", "9-1"], "expected FIRST-LAST", id="ports"),
        pytest.param(["--advertise", "lab.example"], "--advertise: lab.example: expected", id="advertised"),
        pytest.param(["--store", "redis://x"], "redis://x: expected sqlite:///PATH", id="store"),
        pytest.param(["--store", ""], "--store: expected sqlite:///PATH", id="empty store"),
        pytest.param(["--store", "etcd://[::1/x"], "etcd://[::1/x: expected sqlite:///PATH", id="no URL"),
    ],
)
def test_wrong_options(tmp_path: Path, options: list[str], message: str) -> None:
    done = run_to_its_end(tmp_path, *options)

    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("directory", "place"),
    [
        pytest.param("/proc/x", "/proc/x", id="where nothing can be made"),
        pytest.param("/proc", "/proc/", id="where nothing can be written"),
        pytest.param("{tmp}/file", "{tmp}/file", id="a file"),
        pytest.param("{tmp}/file/x", "{tmp}/file/x", id="below a file"),
    ],
)
def test_no_data_directory(tmp_path: Path, directory: str, place: str) -> None:
    (tmp_path / "file").touch()

    done = run_to_its_end(Path(directory.format(tmp=tmp_path)), "--store", "memory://")

    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert place.format(tmp=tmp_path) in line
    assert "expected a directory" in line


def test_state_in_etcd(tmp_path: Path) -> None:
    maps = "/api/v1/namespaces/default/configmaps"
    with etcd(tmp_path) as address:
        store = f"etcd://{address}/nodeplane/lab"
        with apiserver(tmp_path / "first", "--store", store) as process:
            created = request(tmp_path / "first", maps, {"metadata": {"name": "x"}, "data": {"a": "1"}})
            process.kill()
            process.wait(READY_WITHIN_S)
        with apiserver(tmp_path / "second", "--store", store):
            assert request(tmp_path / "second", f"{maps}/x") == created


def test_an_ipv6_listener(tmp_path: Path) -> None:
    """Its kubeconfig has the address in brackets, and the certificate names it."""
    with apiserver(tmp_path, "--listen", "[::1]:0", "--service-cidr", "fd00:10:96::/112"):
        config = yaml.safe_load((tmp_path / "kubeconfig").read_text())
        service = request(tmp_path, "/api/v1/namespaces/default/services/kubernetes")

    assert config["clusters"][0]["cluster"]["server"].startswith("https://[::1]:")
    assert service["spec"]["clusterIP"] == "fd00:10:96::1"


def test_an_empty_token_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")

    done = run_to_its_end(tmp_path)

    assert done.returncode == 2
    assert f"{tmp_path}/token: expected one token" in done.stderr


def test_sigterm_ends_open_watches(tmp_path: Path) -> None:
    with apiserver(tmp_path) as process, ask(tmp_path, "/api/v1/namespaces?watch=1") as watch:
        first = json.loads(watch.readline())
        code, _ = stop(process)
        rest = watch.read().splitlines()

    assert (first["type"], len(rest), code) == ("ADDED", 3, 0)


def test_an_object_of_a_megabyte(tmp_path: Path) -> None:
    maps = "/api/v1/namespaces/default/configmaps"
    data = {"a": "x" * (1 << 20)}
    with apiserver(tmp_path):
        request(tmp_path, maps, {"metadata": {"name": "x"}, "data": data})
        assert request(tmp_path, f"{maps}/x")["data"] == data
