"""`netns-lab doctor`."""

import click

from netns_lab.lab_choice import fail_if
from nodeplane.runtime.cli import output_option
from nodeplane.runtime.output import print_report


@click.command()
@click.option("--all", "every", is_flag=True, help="Print what is there too, in a table.")
@output_option
def doctor(every: bool, output: str) -> None:
    """Look for what a lab needs, and what labs have left behind; exit code 1 if either is to be seen to.

    Says how to get what is missing, and what it is for if a lab works without it.
    """
    import msgspec

    from netns_lab.doctor.facts import read_facts
    from netns_lab.doctor.findings import is_fit, judge

    findings = [*judge(read_facts())]
    fit = is_fit(findings)
    shown = [each for each in findings if every or output != "table" or each.state != "there" or each.advice]
    report: dict[str, object] = {
        "state": "fit" if fit else "unfit",
        "findings": [msgspec.to_builtins(each) for each in shown],
    }
    print_report(report, output)
    fail_if(not fit)
