"""Results of scenarios as JUnit XML, which CI servers read: a suite for each, a case for each step."""

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from netns_lab.scenarios.runner import ScenarioResult

# XML 1.0, 2.2: what a text may not hold, however it is escaped.
_FORBIDDEN = {number: "\N{REPLACEMENT CHARACTER}" for number in range(32) if number not in {9, 10, 13}}


def render_junit(results: Iterable[ScenarioResult]) -> bytes:
    """Render results as the XML that CI servers know as JUnit's."""
    root = Element("testsuites")
    for result in results:
        suite = SubElement(
            root,
            "testsuite",
            name=_text(result.name),
            tests=str(len(result.steps)),
            failures=str(sum(bool(step.failure) for step in result.steps)),
            errors="0",
            skipped=str(sum(step.is_skipped for step in result.steps)),
            time=f"{sum(step.took_s for step in result.steps):.3f}",
        )
        for number, step in enumerate(result.steps):
            case = SubElement(
                suite,
                "testcase",
                classname=_text(result.name),
                # Two steps may be the same; readers tell cases apart by their names.
                name=f"{number:02d} {_text(step.title)}",
                time=f"{step.took_s:.3f}",
            )
            if step.failure:
                SubElement(case, "failure", message=_text(step.failure)).text = _text(step.failure)
            elif step.is_skipped:
                SubElement(case, "skipped")
    indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(root, encoding="unicode")}\n'.encode()


def _text(text: str) -> str:
    return text.translate(_FORBIDDEN)
