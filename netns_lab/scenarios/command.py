"""`netns-lab run`: a scenario as a test."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netns_lab.lab_choice import fail_if, lab_name, need_root, said_when_interrupted
from nodeplane.runtime.cli import output_option
from nodeplane.runtime.option_types import FILE_PATH
from nodeplane.runtime.output import print_report

if TYPE_CHECKING:
    from netns_lab.scenarios.runner import StepResult


@click.command("run")
@click.argument("files", metavar="SCENARIO...", nargs=-1, required=True, type=FILE_PATH)
@click.option("--lab", callback=lab_name, help="Name of the lab; left out, the topology's.")
@click.option("--keep", is_flag=True, help="Leave the lab up afterwards, as its topology asks for it.")
@click.option("--junit", type=FILE_PATH, help="Write JUnit XML to this file.")
@output_option
def run_command(
    files: tuple[Path, ...], lab: str | None, keep: bool, junit: Path | None, output: str
) -> None:
    """Run scenarios, each in its lab; exit code 0 if every step of each held."""
    import msgspec

    from netns_lab.scenarios.junit import render_junit
    from netns_lab.scenarios.loader import read_scenario
    from netns_lab.scenarios.runner import check_free, run_scenario
    from netns_lab.state import StateDirectory, write_file

    loaded = [read_scenario(file) for file in files]
    need_root()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # As an exception, so that what was begun is put back.
        signal.signal(number, signal.default_int_handler)
    runs = []
    for scenario in loaded:
        spec = scenario.lab if lab is None else scenario.lab.named(lab)
        state = StateDirectory(spec.topology.name)
        check_free(state, spec.topology)
        runs.append((msgspec.structs.replace(scenario, lab=spec), state))
    results = []
    for scenario, state in runs:
        with said_when_interrupted(f"run `down {state.lab}`" if keep else "the lab is removed"):
            results.append(run_scenario(scenario, state, _say, keep=keep))
    if junit is not None:
        write_file(junit.absolute(), render_junit(results))
    rows = [
        {
            "scenario": result.name,
            "step": step.title,
            "result": "skipped" if step.is_skipped else "failed" if step.failure else "passed",
            "seconds": round(step.took_s, 2),
            "reason": step.failure,
        }
        for result in results
        for step in result.steps
    ]
    has_passed = all(result.has_passed for result in results)
    print_report({"steps": rows, "passed": has_passed}, output)
    fail_if(not has_passed)


def _say(step: "StepResult") -> None:
    word = "skip" if step.is_skipped else "FAIL" if step.failure else "ok"
    click.echo(f"{word:4} {step.title}{': ' if step.failure else ''}{step.failure}", err=True)
