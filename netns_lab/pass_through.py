"""Verbs that run another program: which words of the line are the verb's own.

netns-lab exec    --lab red n1 -v -- ping -v web     own options, the place, own options, a command
netns-lab kubectl --lab red get pods --help          own options, kubectl's words
"""

import click


class PassThrough(click.Command):
    """A verb whose options end at the first word that is none of them; its last argument takes the rest."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep click from words of the other program that look like this verb's own."""
        own, rest = self._split(ctx, args)
        place: list[str] = []
        if self._has_place() and rest and rest[0] != "--":
            if rest[0].startswith("-"):
                # No option of ours, nor a place: click says which one may be meant.
                return super().parse_args(ctx, args)
            place = rest[:1]
            more, rest = self._split(ctx, rest[1:])
            own += more
        if rest[:1] == ["--"]:
            rest = rest[1:]
        words = [*place, *rest]
        return super().parse_args(ctx, [*own, "--", *words] if words else own)

    def _has_place(self) -> bool:
        return sum(isinstance(param, click.Argument) for param in self.params) > 1

    def _split(self, ctx: click.Context, words: list[str]) -> tuple[list[str], list[str]]:
        """Return the leading options of this verb with their values, and all that follows."""
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        flags = {text for option in options if option.is_flag or option.count for text in option.opts}
        valued = {text for option in options for text in option.opts} - flags
        count = 0
        while count < len(words):
            name, has_value, _ = words[count].partition("=")
            if _is_flag(words[count], flags) or (name in valued and has_value):
                count += 1
            elif name in valued:
                count += 2
            else:
                break
        return words[:count], words[count:]


def _is_flag(word: str, flags: set[str]) -> bool:
    """Say whether a word is a flag, or several of one letter such as `-vv`."""
    is_short = word[:1] == "-" and word[1:2] not in {"", "-"}
    return word in flags or (is_short and all(f"-{letter}" in flags for letter in word[1:]))
