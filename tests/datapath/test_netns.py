"""Named namespaces, made and removed as `ip netns` would."""

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nodeplane.datapath import netns
from nodeplane.errors import KernelError, KernelExistsError, KernelNotFoundError
from tests.netns_fixture import PREFIX, namespace, run_in

pytestmark = pytest.mark.netns

OWN = "/proc/thread-self/ns/net"


@pytest.fixture
def name() -> Iterator[str]:
    name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(3)}-name"
    yield name
    netns.remove(name)


def test_create_and_remove(name: str) -> None:
    path = netns.create(name)

    assert path == Path("/run/netns") / name
    assert netns.is_namespace(path)
    assert not netns.is_current(path)
    assert name in netns.names()

    netns.remove(name)

    assert name not in netns.names()
    assert not path.exists()


def test_ip_netns_works_on_ours_and_we_on_its(name: str) -> None:
    netns.create(name)
    links = subprocess.run(["ip", "netns", "exec", name, "ip", "-o", "link"], capture_output=True, check=True)
    assert links.stdout.count(b"\n") == 1
    subprocess.run(["ip", "netns", "del", name], check=True)
    assert name not in netns.names()

    subprocess.run(["ip", "netns", "add", name], check=True)
    assert netns.is_namespace(netns.NETNS_DIR / name)
    netns.remove(name)
    assert name not in netns.names()


def test_creating_twice_is_refused(name: str) -> None:
    path = netns.create(name)
    before = path.stat().st_ino

    with pytest.raises(KernelExistsError):
        netns.create(name)
    assert path.stat().st_ino == before


def test_removing_what_is_not_there_is_fine(name: str) -> None:
    netns.remove(name)


def test_what_a_killed_create_left_is_taken_over(name: str) -> None:
    path = netns.NETNS_DIR / name
    netns.NETNS_DIR.mkdir(exist_ok=True)
    path.touch()
    assert not netns.is_namespace(path)

    assert netns.is_namespace(netns.create(name))


def test_create_leaves_the_caller_where_it_was(name: str) -> None:
    before = os.stat(OWN).st_ino

    netns.create(name)

    assert os.stat(OWN).st_ino == before


def test_inside_moves_this_thread_and_its_children_alone() -> None:
    with namespace() as path:
        outside, there = os.stat(OWN).st_ino, path.stat().st_ino
        with netns.inside(path):
            assert netns.is_current(path)
            assert os.stat(OWN).st_ino == there
            child = subprocess.run(["stat", "-Lc%i", "/proc/self/ns/net"], capture_output=True, check=True)
            assert int(child.stdout) == there

        assert os.stat(OWN).st_ino == outside
        assert not netns.is_current(path)


def test_inside_leaves_running_threads_alone() -> None:
    with namespace() as path:
        seen: list[int] = []
        asked = threading.Event()

        def other_thread() -> None:
            asked.wait()
            seen.append(os.stat(OWN).st_ino)

        thread = threading.Thread(target=other_thread)
        thread.start()
        with netns.inside(path):
            asked.set()
            thread.join()

        assert seen == [os.stat(OWN).st_ino]


def test_inside_comes_back_after_an_error() -> None:
    before = os.stat(OWN).st_ino
    with namespace() as path, pytest.raises(ZeroDivisionError), netns.inside(path):
        _ = 1 / 0

    assert os.stat(OWN).st_ino == before


@pytest.mark.parametrize(
    ("path", "error"),
    [
        pytest.param("/run/netns/npt-never-made", KernelNotFoundError, id="nothing"),
        pytest.param("/etc/hostname", KernelError, id="a file"),
        pytest.param("/proc/self/ns/mnt", KernelError, id="a namespace of another kind"),
    ],
)
def test_inside_what_is_no_network_namespace(path: str, error: type[KernelError]) -> None:
    before = os.stat(OWN).st_ino

    with pytest.raises(error, match="enter network namespace"), netns.inside(Path(path)):
        pass
    assert os.stat(OWN).st_ino == before


def test_many_at_once_each_get_their_own() -> None:
    names = [f"{PREFIX}{os.getpid()}-{secrets.token_hex(3)}-many{number}" for number in range(16)]
    try:
        with ThreadPoolExecutor(4) as pool:
            paths = list(pool.map(netns.create, names))

        assert len({path.stat().st_ino for path in paths}) == len(names)
        assert all(netns.is_namespace(path) for path in paths)
    finally:
        for one in names:
            netns.remove(one)


def test_a_process_holds_its_namespace_beyond_the_name() -> None:
    with namespace() as path:
        with netns.inside(path):
            child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        netns.remove(path.name)

        assert run_in(Path(f"/proc/{child.pid}/ns/net"), "ip", "-o", "link").returncode == 0
        child.communicate()


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param("", "2 0", id="a mount of ours goes with the last name"),
        pytest.param("ip netns add other && ip netns del other", "2 1", id="another's mount stays"),
        pytest.param("ip netns add other", "3 2", id="another's namespace stays"),
    ],
)
def test_mounts_are_left_as_they_were(before: str, expected: str) -> None:
    """Mounts with and without a namespace of ours: counted in a mount namespace over an empty /run."""
    script = f"""
import subprocess
from nodeplane.datapath import netns

def mounts():
    return open("/proc/self/mountinfo").read().count(" /run/netns")

start = mounts()
subprocess.run({before!r}, shell=True, check=True)
netns.create("ours")
during = mounts() - start
netns.remove("ours")
print(during, mounts() - start)
"""
    command = 'mount -t tmpfs none /run && exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command, sys.executable, script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert done.stdout.strip() == expected
