"""What a lab leaves behind when its command is killed: rounds of up, kill -9 at a random moment, up, down.

Each round looks for everything that carries the lab's name: namespaces, mounts, files, processes. Beside it
runs another lab with the same addresses, which must not notice.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figure import median, report
from tests.lab.labs import COMMAND, TWO_NODES, LabUnderTest, in_service, lab_from, remains

_WAIT_LIMIT_S = 240


def torture(rounds: int, seed: int) -> None:
    """Print how much was left in all rounds, and how often the other lab noticed."""
    choice = random.Random(seed)
    left, disturbed, repairs, killed = 0, 0, [], 0
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        with lab_from(TWO_NODES, Path(other)) as beside, lab_from(TWO_NODES, Path(folder)) as lab:
            beside.up()
            whole_s = _timed_up(lab)
            lab.down()
            for _ in range(rounds):
                killed += _killed_up(lab, choice.uniform(0, whole_s))
                repairs.append(_timed_up(lab))
                assert in_service(lab)
                lab.down()
                found = remains(lab.name)
                for each in found:
                    print(f"left: {each}", file=sys.stderr)
                left += len(found)
                disturbed += beside.up()["changes"] != []
            assert in_service(beside)
        left += len(remains(beside.name))
    words = f"{rounds} x (up killed at a random moment, up, down), seed {seed}, {killed} killed in time"
    report(f"what is left after {words}", "things", left, goal="ours <= 0")
    report(f"rounds that the lab beside noticed, {words}", "rounds", disturbed, goal="ours <= 0")
    report("up after a killed up", "s", median(repairs), peer=whole_s, peer_name="up from nothing")


def _killed_up(lab: LabUnderTest, after_s: float) -> bool:
    """Start `up`, kill it after a while, and say whether it was still running."""
    with subprocess.Popen(
        [COMMAND, "up", str(lab.file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as up:
        try:
            up.wait(after_s)
        except subprocess.TimeoutExpired:
            up.kill()
            up.wait(_WAIT_LIMIT_S)
            return True
    return False


def _timed_up(lab: LabUnderTest) -> float:
    started = time.monotonic()
    lab.up()
    return time.monotonic() - started


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two rounds: under a minute")
    parser.add_argument("--rounds", type=int, default=20, help="how many; default 20")
    parser.add_argument("--seed", type=int, help="of the moments; without it, another one each time")
    arguments = parser.parse_args()
    seed = random.randrange(1 << 16) if arguments.seed is None else arguments.seed
    torture(2 if arguments.quick else arguments.rounds, seed)


if __name__ == "__main__":
    main()
