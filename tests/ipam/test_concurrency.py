"""Many processes at one datastore, some of which die: no address twice, nothing lost that was answered."""

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipam.allocator import Allocator
from ipam.check import Snapshot, find_contradictions, read_snapshot
from ipam.datastore import Datastore, open_datastore
from ipam.model import Pool
from ipam.stores.sqlite import SqliteStore
from ipam.stores.sqlite_file import write_ahead_log
from tests.ipam.stores.dying import dies_at
from tests.ipam.values import handle, network, request

PROGRAM = Path(sys.executable).with_name("nodeplane-ipam")
POOL = Pool("default", network("10.0.0.0/16"), 26)
# An interpreter is mostly CPU: more at a time than this only makes each slower.
AT_ONCE = 16


def read(path: Path) -> Snapshot:
    """Read all that is in a datastore; it must be sound, down to the file."""
    with open_datastore(f"sqlite://{path}", create=False) as datastore:
        assert datastore.verify() == []
        snapshot = datastore.read(read_snapshot)
    assert find_contradictions(snapshot) == []
    return snapshot


def held(path: Path) -> dict[str, str]:
    """Return the address of each container in a datastore."""
    return {item.handle.container_id: str(item.address) for item in read(path).allocations}


class Runtime:
    """Calls the real plugin, as the container runtime of one of four nodes would."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, command: str, number: int) -> "subprocess.Popen[str]":
        config = {
            "cniVersion": "1.1.0",
            "name": "net",
            "nodeName": f"n{number % 4}",
            "ipam": {
                "datastore": f"sqlite://{self.path}",
                "pools": [{"name": "default", "cidr": "10.0.0.0/16", "blockSize": 26}],
            },
        }
        process = subprocess.Popen(
            [PROGRAM],
            env={
                **os.environ,
                "CNI_COMMAND": command,
                "CNI_CONTAINERID": f"c{number}",
                "CNI_NETNS": f"/run/netns/p{number}",
                "CNI_IFNAME": "eth0",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(config))
        process.stdin.close()
        process.stdin = None
        return process

    def call(self, command: str, number: int) -> str:
        """Run the plugin to its end; return the address that it printed."""
        process = self.start(command, number)
        out, _ = process.communicate()
        assert process.returncode == 0, out
        return json.loads(out)["ips"][0]["address"].removesuffix("/32") if out else ""


def test_two_hundred_adds_give_two_hundred_addresses(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path / "ipam.sqlite")
    numbers = range(200)
    with ThreadPoolExecutor(AT_ONCE) as executor:
        addresses = list(executor.map(lambda number: runtime.call("ADD", number), numbers))

    assert len(set(addresses)) == 200
    expected = {f"c{number}": address for number, address in zip(numbers, addresses, strict=True)}
    assert held(runtime.path) == expected
    # Fifty pods on each of four nodes fit into one block each.
    assert len(read(runtime.path).blocks) == 4

    with ThreadPoolExecutor(AT_ONCE) as executor:
        list(executor.map(lambda number: runtime.call("DEL", number), numbers))

    assert held(runtime.path) == {}


def test_plugins_killed_at_random_leave_no_duplicate(tmp_path: Path) -> None:
    """Each ADD is killed at some moment of its life, then asked for again, as a runtime does."""
    runtime = Runtime(tmp_path / "ipam.sqlite")
    runtime.call("ADD", 0)
    dice = random.Random(2)

    def add(number: int) -> str:
        process = runtime.start("ADD", number)
        try:
            process.wait(timeout=dice.uniform(0.02, 0.25))
        except subprocess.TimeoutExpired:
            process.kill()
        answer, _ = process.communicate()
        first = json.loads(answer)["ips"][0]["address"].removesuffix("/32") if answer else None
        again = runtime.call("ADD", number)
        assert first in {None, again}
        return again

    with ThreadPoolExecutor(4) as executor:
        addresses = list(executor.map(add, range(1, 41)))

    assert len(set(addresses)) == 40
    assert list(held(runtime.path).values()).count(addresses[0]) == 1
    assert len(held(runtime.path)) == 41


WRITER = """
import sys
from ipam.allocator import Allocator
from ipam.datastore import open_datastore
from ipam.model import Pool
from tests.ipam.values import network, request
POOL = Pool("default", network("10.0.0.0/16"), 26)
with open_datastore(sys.argv[1]) as datastore:
    allocator = Allocator(datastore, (POOL,))
    for number in range(int(sys.argv[3]), 10**6):
        given = allocator.assign(request(number, node=sys.argv[2])).ips[0]
        print(f"c{number}", given.address.ip, flush=True)
"""


@contextmanager
def writing(path: Path, node: int, first: int) -> Iterator["subprocess.Popen[str]"]:
    """Run a writer until the block ends; then kill it."""
    arguments = [sys.executable, "-c", WRITER, f"sqlite://{path}", f"n{node}", str(first)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
        try:
            yield writer
        finally:
            writer.kill()


def test_writers_killed_in_their_transactions_lose_nothing_that_was_answered(tmp_path: Path) -> None:
    """Writers that do nothing but transactions die at random: what they reported is there, hardly more."""
    path = tmp_path / "ipam.sqlite"
    dice = random.Random(3)
    answered: dict[str, str] = {}
    for number in range(6):
        with writing(path, 1, number * 10_000) as first, writing(path, 2, 10**5 + number * 10_000) as second:
            lines = []
            for writer in (first, second):
                assert writer.stdout is not None
                lines += [writer.stdout.readline() for _ in range(dice.randrange(1, 40))]
                writer.kill()
                lines += writer.communicate()[0].splitlines(keepends=True)
        # The last line of each may have been cut off by its death.
        answered |= dict(line.split() for line in lines if line.endswith("\n"))
        found = held(path)
        assert len(set(found.values())) == len(found)
        assert {container: found.get(container) for container in answered} == answered
        # What was committed but not yet reported: one of each writer that was killed.
        assert len(found) <= len(answered) + 2 * (number + 1)


@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_death_at_each_write_leaves_all_or_nothing(command: str, tmp_path: Path) -> None:
    """The process is killed before each of its statements in turn, the commit too, until it survives."""
    for point in itertools.count():
        path = tmp_path / f"{point}" / "ipam.sqlite"
        before = {"c1": assign(path, 1)}

        has_died = dies_at(point, partial(assign, path, 2) if command == "ADD" else partial(release, path, 1))

        between = held(path)
        if command == "ADD":
            second = assign(path, 2)
            assert between in (before, {**before, "c2": second})
            assert held(path) == {**before, "c2": second}
        else:
            assert between in (before, {})
            release(path, 1)
            assert held(path) == {}
        if not has_died:
            assert between != before
            break
    # Its opening, each row that it writes, and the commit.
    assert point > 10


def assign(path: Path, number: int) -> str:
    with open_datastore(f"sqlite://{path}") as datastore:
        return str(Allocator(datastore, (POOL,)).assign(request(number)).ips[0].address.ip)


def release(path: Path, number: int) -> None:
    with open_datastore(f"sqlite://{path}") as datastore:
        Allocator(datastore, (POOL,)).release(handle(number))


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, str]]]:
    """Make a datastore whose changes are all in its log; return it, and the state after each transaction."""
    directory = tmp_path_factory.mktemp("torn")
    path = directory / "live" / "ipam.sqlite"
    states: list[dict[str, str]] = [{}]
    with closing(SqliteStore(path)) as store:
        allocator = Allocator(Datastore(store), (POOL,))
        for number in (1, 2, 3, -2, 4, -1, 5):
            state = dict(states[-1])
            if number > 0:
                state[f"c{number}"] = str(allocator.assign(request(number)).ips[0].address.ip)
            else:
                allocator.release(handle(-number))
                del state[f"c{-number}"]
            states.append(state)
        # As a power cut finds it: nobody has closed the file.
        shutil.copytree(path.parent, directory / "cut", ignore=shutil.ignore_patterns("*-shm"))
    return directory / "cut" / path.name, states


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_a_log_that_a_power_cut_tore_holds_whole_transactions(
    data: st.DataObject, torn: tuple[Path, list[dict[str, str]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    cut, states = torn
    log = write_ahead_log(cut).read_bytes()
    length = data.draw(st.integers(0, len(log)))
    path = tmp_path_factory.mktemp("cut") / cut.name
    shutil.copy(cut, path)
    write_ahead_log(path).write_bytes(log[:length])

    assert held(path) in states
    if length == len(log):
        assert held(path) == states[-1]
