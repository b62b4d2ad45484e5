"""Many processes at one datastore, some of which die: no address twice, nothing lost that was answered."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipam.allocator import Allocator
from ipam.check import Snapshot, find_contradictions, read_snapshot
from ipam.datastore import Datastore, open_datastore
from ipam.model import Pool
from ipam.sqlite_store import SqliteStore, write_ahead_log
from ipam.store import Transaction
from tests.ipam.values import WEB, handle, network

T = TypeVar("T")

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
from tests.ipam.test_concurrency import POOL
from tests.ipam.values import WEB, handle
with open_datastore(sys.argv[1]) as datastore:
    allocator = Allocator(datastore, sys.argv[2], (POOL,))
    for number in range(int(sys.argv[3]), 10**6):
        print(f"c{number}", allocator.assign(handle(number), WEB, "/n").address.ip, flush=True)
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


@pytest.mark.parametrize("point", range(6))
@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_death_at_each_write_leaves_all_or_nothing(command: str, point: int, tmp_path: Path) -> None:
    """The process kills itself before its first write, after it, … and after the commit."""
    path = tmp_path / "ipam.sqlite"
    with Datastore(SqliteStore(path)) as datastore:
        allocator = Allocator(datastore, "n1", (POOL,))
        allocator.assign(handle(1), WEB, "/n")
        before = {"c1": str(allocator.assign(handle(1), WEB, "/n").address.ip)}

    pid = os.fork()
    if pid == 0:
        try:
            dying = Allocator(Datastore(DyingStore(path, point)), "n1", (POOL,))
            if command == "ADD":
                dying.assign(handle(2), WEB, "/n")
            else:
                dying.release(handle(1))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    _, status = os.waitpid(pid, 0)

    assert os.WTERMSIG(status) == signal.SIGKILL
    with open_datastore(f"sqlite://{path}") as datastore:
        allocator = Allocator(datastore, "n1", (POOL,))
        second = str(allocator.assign(handle(2), WEB, "/n").address.ip)
        after = held(path)
        if command == "ADD":
            assert after == {**before, "c2": second}
        else:
            assert after in ({**before, "c2": second}, {"c2": second})
            allocator.release(handle(1))
            assert held(path) == {"c2": second}


class DyingStore(SqliteStore):
    """A store whose process is killed at the write of a number."""

    def __init__(self, path: Path, point: int) -> None:
        super().__init__(path)
        self.left = point

    def transact(self, step: Callable[[Transaction], T]) -> T:
        return super().transact(lambda transaction: step(DyingTransaction(self, transaction)))

    def count(self) -> None:
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1


class DyingTransaction:
    """A transaction that counts its writes."""

    def __init__(self, store: DyingStore, transaction: Transaction) -> None:
        self.store = store
        self.transaction = transaction
        self.get = transaction.get
        self.scan = transaction.scan

    def put(self, key: str, value: bytes) -> None:
        self.store.count()
        self.transaction.put(key, value)

    def delete(self, key: str) -> None:
        self.store.count()
        self.transaction.delete(key)


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, str]]]:
    """Make a datastore whose changes are all in its log; return it, and the state after each transaction."""
    directory = tmp_path_factory.mktemp("torn")
    path = directory / "live" / "ipam.sqlite"
    states: list[dict[str, str]] = [{}]
    with closing(SqliteStore(path)) as store:
        allocator = Allocator(Datastore(store), "n1", (POOL,))
        for number in (1, 2, 3, -2, 4, -1, 5):
            state = dict(states[-1])
            if number > 0:
                state[f"c{number}"] = str(allocator.assign(handle(number), WEB, "/n").address.ip)
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
