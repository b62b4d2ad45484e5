"""Coroutines that are run to their end, and that can't begin."""

import asyncio
import subprocess
import sys

import pytest

from nodeplane.runtime.event_loop import run_async

LIMITED = """\
import resource, sys
from nodeplane.errors import KernelError
from nodeplane.runtime.event_loop import run_async
async def main():
    print("begun")
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
try:
    run_async(main())
except KernelError as exc:
    print(exc)
"""


def test_result() -> None:
    """It is the coroutine's."""

    async def main() -> int:
        await asyncio.sleep(0)
        return 7

    assert run_async(main()) == 7


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        *((limit, "start an event loop: Too many open files (EMFILE)\n") for limit in (3, 4, 5)),
        (6, "begun\n"),
    ],
)
def test_descriptors(limit: int, expected: str) -> None:
    """A loop takes three beside the standard ones; without them nothing begins, and nothing complains."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(limit=limit)], capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == (expected, "")
