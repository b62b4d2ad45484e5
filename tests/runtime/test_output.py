"""The same result for people and for programs."""

import json
from typing import Any

import pytest
import yaml

from nodeplane.runtime.output import Row, count_words, print_report, print_result, render_table

ROWS: list[Row] = [
    {"name": "web", "cluster_ip": "10.96.0.1", "endpoints": ["10.0.0.1:80", "10.0.0.2:80"], "age": 3},
    {"name": "kube-dns", "cluster_ip": "10.96.0.10", "endpoints": [], "age": 12},
]


@pytest.mark.parametrize(
    ("rows", "table"),
    [
        pytest.param([], "", id="no rows"),
        pytest.param([{"a": 1}], "A\n1\n", id="one cell"),
        pytest.param(
            ROWS,
            "NAME      CLUSTER IP  ENDPOINTS    AGE\n"
            "web       10.96.0.1   10.0.0.1:80  3\n"
            "                      10.0.0.2:80\n"
            "kube-dns  10.96.0.10               12\n",
            id="a list takes a line for each entry",
        ),
        pytest.param(
            [{"a": 1, "b": 2}, {"b": 3, "a": 4}], "A  B\n1  2\n4  3\n", id="keys in different orders"
        ),
        pytest.param([{"a": True, "b": [False, 1]}], "A     B\ntrue  false\n      1\n", id="booleans"),
        pytest.param([{"a": [], "b": []}], "A  B\n\n", id="row of nothing"),
    ],
)
def test_render_table(rows: list[Row], table: str) -> None:
    """Columns are as wide as their widest cell, two spaces apart, without spaces at the end."""
    assert render_table(rows) == table


REPORT = {"lab": "demo", "seconds": 1.5, "nodes": ROWS, "missing": [], "state": "up"}


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        pytest.param({}, "", id="nothing"),
        pytest.param(
            {"lab": "demo", "cluster_dns": "10.96.0.10"}, "lab: demo\ncluster dns: 10.96.0.10\n", id="facts"
        ),
        pytest.param(
            REPORT,
            f"lab: demo\nseconds: 1.5\n\n{render_table(ROWS)}\nmissing: none\nstate: up\n",
            id="a table is a block of its own",
        ),
        pytest.param({"passed": True}, "passed: true\n", id="boolean"),
        pytest.param({"a": [{"x": 1}], "b": [{"y": 2}]}, "X\n1\n\nY\n2\n", id="two tables"),
    ],
)
def test_print_report(sections: dict[str, Any], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Facts that follow one another stand together."""
    print_report(sections, "table")

    assert capsys.readouterr().out == text


@pytest.mark.parametrize(("output", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_data(output: str, load: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get all of it, in the order of the table."""
    print_result(ROWS, output)
    rows = capsys.readouterr().out
    print_report(REPORT, output)
    report = capsys.readouterr().out

    assert (load(rows), load(report)) == (ROWS, REPORT)
    assert [list(row) for row in load(rows)] == [list(row) for row in ROWS]


def test_table_result(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows alone are their table."""
    print_result(ROWS, "table")

    assert capsys.readouterr().out == render_table(ROWS)


@pytest.mark.parametrize(("output", "text"), [("table", "none\n"), ("json", "[]\n"), ("yaml", "[]\n")])
def test_print_no_rows(output: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As in a report, and not as if the command had done nothing."""
    print_result([], output)

    assert capsys.readouterr().out == text


@pytest.mark.parametrize(("count", "words"), [(0, "0 pools"), (1, "1 pool"), (2, "2 pools")])
def test_count_words(count: int, words: str) -> None:
    assert count_words(count, "pool") == words
