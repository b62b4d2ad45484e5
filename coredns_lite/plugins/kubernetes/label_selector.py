"""Label selectors as people write them: `app=web,tier in (front, back),!legacy`.

The grammar is Kubernetes' (k8s.io/apimachinery/pkg/labels): requirements joined by commas, all of which must
hold. An API server takes the text itself; a directory of manifests is filtered here.
"""

import re
from collections.abc import Mapping

import msgspec

_KEY = r"(?:[a-z0-9.-]+/)?[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?"
_REQUIREMENT = re.compile(
    rf"""\s*(?:
        (?P<key>{_KEY})\s*(?P<sign>==|=|!=)\s*(?P<value>{_VALUE})
        | (?P<set_key>{_KEY})\s+(?P<word>in|notin)\s*\((?P<values>\s*{_VALUE}\s*(?:,\s*{_VALUE}\s*)*)\)
        | (?P<absent>!?)\s*(?P<exists>{_KEY})
    )\s*(?:,|$)""",
    re.VERBOSE,
)


class LabelSelectorError(ValueError):
    """A text that is no label selector."""


class Requirement(msgspec.Struct, frozen=True):
    """What one label has to be: one of the values, or none of them; without values, there or not there."""

    key: str
    values: frozenset[str] | None
    is_wanted: bool = True

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Say whether labels meet it; a label that is not there is none of any values."""
        found = labels.get(self.key)
        if self.values is None:
            return (found is not None) == self.is_wanted
        return (found in self.values) == self.is_wanted


class LabelSelector(msgspec.Struct, frozen=True):
    """Requirements that all have to hold, and the text that they were read from."""

    text: str
    requirements: tuple[Requirement, ...]

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Say whether an object with these labels is selected."""
        return all(requirement.holds(labels) for requirement in self.requirements)


def parse_label_selector(text: str) -> LabelSelector:
    """Parse a selector.

    Raises:
        LabelSelectorError: it is none; the message says from where on.
    """
    requirements = []
    at = 0
    while at < len(text) or not at or text.rstrip().endswith(","):
        found = _REQUIREMENT.match(text, at)
        if found is None or at == len(text):
            raise LabelSelectorError(
                f"expected a label selector such as app=web,tier in (a, b): {text[at:]!r}"
            )
        requirements.append(_build(found))
        at = found.end()
    return LabelSelector(text, tuple(requirements))


def _build(found: re.Match[str]) -> Requirement:
    if found["key"]:
        return Requirement(found["key"], frozenset({found["value"]}), found["sign"] != "!=")
    if found["set_key"]:
        values = frozenset(value.strip() for value in found["values"].split(","))
        return Requirement(found["set_key"], values, found["word"] == "in")
    return Requirement(found["exists"], None, not found["absent"])
