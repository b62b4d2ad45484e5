"""Results on stdout: rows as an aligned table for people, the same data as JSON or YAML for programs."""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import click

Row = dict[str, Any]


def print_result(rows: Sequence[Row], output: str) -> None:
    """Print rows that share their keys; a list in a cell takes a line for each entry in the table."""
    if output == "table":
        click.echo(render_table(rows) or f"{_text([])}\n", nl=False)
    else:
        _print_data(list(rows), output)


def print_report(sections: Mapping[str, Any], output: str) -> None:
    """Print facts and lists of rows under their names: as blocks for people, as one object otherwise."""
    if output == "table":
        click.echo(_render_report(sections), nl=False)
    else:
        _print_data(dict(sections), output)


def render_table(rows: Sequence[Row]) -> str:
    """Render rows as columns under upper-case heads, two spaces apart."""
    if not rows:
        return ""
    heads = list(rows[0])
    lines = [[head.upper().replace("_", " ") for head in heads]]
    for row in rows:
        # By name: rows may have their keys in different orders.
        values = [row[head] for head in heads]
        cells = [
            [_text(entry) for entry in (value if isinstance(value, list) else [value])] for value in values
        ]
        for number in range(max(1, *map(len, cells))):
            lines.append([cell[number] if number < len(cell) else "" for cell in cells])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def count_words(count: int, noun: str) -> str:
    """Say how many there are: `1 pool`, `2 pools`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _text(value: Any) -> str:
    """Return a value as people read it; a boolean as in JSON, and in kubectl's columns."""
    if value == []:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _render_report(sections: Mapping[str, Any]) -> str:
    """Render facts that follow one another as one block, and each table as its own."""
    blocks = []
    for is_table, group in groupby(sections.items(), key=lambda section: _is_table(section[1])):
        texts = [_render_section(name, value) for name, value in group]
        blocks += texts if is_table else ["".join(texts)]
    return "\n".join(blocks)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _render_section(name: str, value: Any) -> str:
    head = name.replace("_", " ")
    if not _is_table(value):
        return f"{head}: {_text(value)}\n"
    return render_table(value if isinstance(value[0], dict) else [{head: entry} for entry in value])


def _print_data(data: Any, output: str) -> None:
    if output == "json":
        click.echo(json.dumps(data, indent=2))
    else:
        import yaml

        click.echo(yaml.safe_dump(data, sort_keys=False), nl=False)
