"""What `nft -a -t list ruleset` prints: rules by handle, each with its comment, and chains' hooks. Pure.

The kernel tells of a rule by its handle alone; nft knows how to write every rule, whosever it is.
"""

import re
from collections.abc import Mapping

import msgspec

_TABLE = re.compile(r"table (\S+) (\S+) \{")
_CHAIN = re.compile(r"\tchain (\S+) \{")
_HOOK = re.compile(r"\t\ttype \S+ hook (\S+)( device \S+)? priority ([^;]+);")
_RULE = re.compile(r"\t\t(?P<text>.*?)(?: comment \"(?P<comment>[^\"]*)\")? # handle (?P<handle>\d+)$")


class RuleText(msgspec.Struct, frozen=True):
    """A rule as nft prints it, its comment apart."""

    text: str
    comment: str = ""


class Ruleset(msgspec.Struct, frozen=True):
    """Rules by family, table and handle; base chains' hook and priority by family, table and chain."""

    rules: Mapping[tuple[str, str, int], RuleText] = {}
    hooks: Mapping[tuple[str, str, str], str] = {}

    def find(self, family: str, table: str, handle: int) -> RuleText:
        """Return a rule; one that is not known is called by its handle."""
        return self.rules.get((family, table, handle)) or RuleText(f"rule with handle {handle}")


def parse_ruleset(printed: str) -> Ruleset:
    """Read what nft printed; lines that are not understood are left out."""
    rules: dict[tuple[str, str, int], RuleText] = {}
    hooks: dict[tuple[str, str, str], str] = {}
    family = table = chain = ""
    for line in printed.splitlines():
        if match := _TABLE.match(line):
            family, table = match[1], match[2]
        elif match := _CHAIN.match(line):
            chain = match[1]
        elif match := _HOOK.match(line):
            hooks[family, table, chain] = match[1]
        elif line.startswith("\t\t") and (match := _RULE.match(line)):
            rules[family, table, int(match["handle"])] = RuleText(match["text"], match["comment"] or "")
    return Ruleset(rules, hooks)
