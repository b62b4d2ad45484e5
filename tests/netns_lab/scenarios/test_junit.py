"""Results as JUnit XML."""

from netns_lab.scenarios.junit import render_junit
from netns_lab.scenarios.runner import ScenarioResult, StepResult


def test_junit() -> None:
    result = ScenarioResult(
        "a <scenario>",
        (
            StepResult("up", 1.25),
            StepResult('expect "x" & y', 0.5, "got \x1b[0m none"),
            StepResult("up", is_skipped=True),
        ),
    )

    assert render_junit([result]).decode().splitlines() == [
        '<?xml version="1.0" encoding="utf-8"?>',
        "<testsuites>",
        '  <testsuite name="a &lt;scenario&gt;" tests="3" failures="1" errors="0" skipped="1" time="1.750">',
        '    <testcase classname="a &lt;scenario&gt;" name="00 up" time="1.250" />',
        '    <testcase classname="a &lt;scenario&gt;" name="01 expect &quot;x&quot; &amp; y" time="0.500">',
        '      <failure message="got �[0m none">got �[0m none</failure>',
        "    </testcase>",
        '    <testcase classname="a &lt;scenario&gt;" name="02 up" time="0.000">',
        "      <skipped />",
        "    </testcase>",
        "  </testsuite>",
        "</testsuites>",
    ]


def test_no_scenarios() -> None:
    assert render_junit([]).endswith(b"<testsuites />\n")
