"""What a parsed label selector is made of, and which labels each part takes."""

from collections.abc import Callable

import msgspec

from ipam.model import Labels

_TESTS: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda has, part: part in has,
    "starts": lambda has, part: has.startswith(part),
    "ends": lambda has, part: has.endswith(part),
}


class Has(msgspec.Struct, frozen=True):
    """The label is there."""

    key: str

    def matches(self, labels: Labels) -> bool:
        """Say whether these labels are selected."""
        return self.key in labels


class In(msgspec.Struct, frozen=True):
    """The label is there and has one of these values."""

    key: str
    values: tuple[str, ...]

    def matches(self, labels: Labels) -> bool:
        """Say whether these labels are selected."""
        return labels.get(self.key) in self.values


class Like(msgspec.Struct, frozen=True):
    """The label is there and its value contains, starts or ends with a text."""

    key: str
    how: str
    part: str

    def matches(self, labels: Labels) -> bool:
        """Say whether these labels are selected."""
        return self.key in labels and _TESTS[self.how](labels[self.key], self.part)


class Not(msgspec.Struct, frozen=True):
    """What the other does not select."""

    of: "Selector"

    def matches(self, labels: Labels) -> bool:
        """Say whether these labels are selected."""
        return not self.of.matches(labels)


class All(msgspec.Struct, frozen=True):
    """What all of these select; everything when there are none."""

    of: "tuple[Selector, ...]" = ()

    def matches(self, labels: Labels) -> bool:
        """Say whether these labels are selected."""
        return all(item.matches(labels) for item in self.of)


class AnyOf(msgspec.Struct, frozen=True):
    """What any of these selects."""

    of: "tuple[Selector, ...]"

    def matches(self, labels: Labels) -> bool:
        """Say whether these labels are selected."""
        return any(item.matches(labels) for item in self.of)


Selector = Has | In | Like | Not | All | AnyOf
