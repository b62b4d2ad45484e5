"""`netns-lab validate`: topologies and scenarios, each with what is wrong in one line."""

import json
import subprocess
import sys
from pathlib import Path

COMMAND = Path(sys.executable).parent / "netns-lab"
EXAMPLES = Path(__file__).parents[2] / "examples"


def test_validate(tmp_path: Path) -> None:
    """All are checked, also behind one that is wrong; nobody has to be root."""
    bad, good = tmp_path / "bad.yaml", EXAMPLES / "two-nodes.yaml"
    bad.write_text("name: lab\nnodes:\n  - name: n1\n  - name: n1\n")
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(f"name: s\ntopology: {good}\nsteps:\n  - {{stop: nobody}}\n")
    missing = tmp_path / "none.yaml"

    done = subprocess.run(
        [COMMAND, "validate", bad, good, scenario, missing, "-o", "json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    errors = [
        f"{bad}:4: nodes[1].name: expected each node once, got 'n1'",
        f"{scenario}:4: steps[0].stop: expected the name of traffic that runs, got 'nobody'",
        f"{missing}: expected a readable file: No such file or directory",
    ]
    assert (done.returncode, done.stderr) == (2, "".join(f"netns-lab: {line}\n" for line in errors))
    assert [(row["kind"], row["error"]) for row in json.loads(done.stdout)] == [
        ("topology", errors[0]),
        ("topology", "none"),
        ("scenario", errors[1]),
        ("topology", errors[2]),
    ]
