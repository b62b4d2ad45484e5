"""Every refusal is one line that names file, line, field and what is expected."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from nodeplane.errors import ConfigError
from nodeplane.yamldoc import FieldPath, field_text, parse_documents, read_documents
from tests.test_yamlloader import GARBAGE


class Port(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part, strict about its fields."""

    number: Annotated[int, Meta(ge=1, le=65535)]
    protocol: Literal["TCP", "UDP"] = "TCP"


class Thing(msgspec.Struct, frozen=True, rename="camel"):
    """What the documents of these tests hold."""

    name: str
    ports: tuple[Port, ...] | None = None
    labels: dict[str, str] = {}
    host_name: str | None = None
    mode: Annotated[Literal["a", "b"], Meta(description="How.")] = "a"
    inner: list["Thing"] = []


@pytest.mark.parametrize(
    ("text", "values"),
    [
        pytest.param("", [], id="empty"),
        pytest.param("# nothing\n", [], id="a comment"),
        pytest.param("---\n---\n# nothing\n---\na: 1\n---\n", [{"a": 1}], id="empty documents are left out"),
        pytest.param("a: 1\n---\n- b\n...\n---\nc\n", [{"a": 1}, ["b"], "c"], id="three documents"),
        pytest.param('{"a": ["\\u00e9\\/",\n\t1.5, null]}', [{"a": ["é/", 1.5, None]}], id="JSON"),
        pytest.param("\ufeffa: 1\r\nb: 2\r\n", [{"a": 1, "b": 2}], id="byte order mark, CRLF"),
    ],
)
def test_parse_documents(text: str, values: list[Any], tmp_path: Path) -> None:
    """A text and a file of it give the same documents."""
    path = tmp_path / "a.yaml"
    path.write_bytes(text.encode())

    assert [document.value for document in parse_documents(text, "a.yaml")] == values
    assert read_documents(path, "a.yaml") == parse_documents(text, "a.yaml")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        pytest.param(
            b"a: 1\nb: [\n", "a.yaml:3: expected YAML: did not find expected node content", id="open"
        ),
        pytest.param(b"a:\n\t- 2", "a.yaml:2: expected YAML: found character that", id="tab"),
        pytest.param(
            b"a: 1\n---\nb: *x", "a.yaml:3: expected YAML: found undefined alias", id="second document"
        ),
        pytest.param(b"a: 1\na: 2", "a.yaml:2: expected YAML: found key 'a' twice", id="key twice"),
        pytest.param(b"\n!!int x", "a.yaml:2: expected YAML: found what is no int", id="no number"),
        pytest.param(
            b"a:\n- &a [*a]",
            "a.yaml:2: expected YAML: found unconstructable recursive node",
            id="holds itself",
        ),
        pytest.param(b"? [1]\n: 2", "a.yaml:1: expected YAML: found unhashable key", id="list as a key"),
        pytest.param(b"- 1\n- !x 2", "a.yaml:2: expected YAML: could not determine a constructor", id="tag"),
        pytest.param(
            "é\né\0".encode(), "a.yaml:2: expected YAML: control characters are not allowed", id="NUL"
        ),
        pytest.param(b"a: 1\nb: \xff", "a.yaml:2: expected UTF-8 text: invalid start byte", id="not UTF-8"),
        pytest.param("a: 1".encode("utf-16"), "a.yaml:1: expected UTF-8 text", id="UTF-16"),
    ],
)
def test_not_yaml(content: bytes, error: str, tmp_path: Path) -> None:
    """The line is the one where the parser gave up."""
    path = tmp_path / "a.yaml"
    path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        read_documents(path, "a.yaml")

    assert str(caught.value).startswith(error)
    assert "\n" not in str(caught.value)


def test_a_pipe(tmp_path: Path) -> None:
    """A pipe without a writer is refused, not waited for."""
    path = tmp_path / "a.yaml"
    os.mkfifo(path)

    with pytest.raises(ConfigError) as caught:
        read_documents(path)

    assert str(caught.value) == f"{path}: expected a regular file"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("none.yaml", "No such file or directory", id="no file"),
        pytest.param(".", "Is a directory", id="a directory"),
    ],
)
def test_not_readable(name: str, reason: str, tmp_path: Path) -> None:
    """A file that can't be read is named, with the reason."""
    path = tmp_path / name

    with pytest.raises(ConfigError) as caught:
        read_documents(path)

    assert str(caught.value) == f"{path}: expected a readable file: {reason}"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("5", "1: expected `object`, got `int`", id="no mapping"),
        pytest.param("# c\nports: []", "2: name: expected a value", id="field missing"),
        pytest.param("name: 5", "1: name: expected `str`, got `int`", id="type"),
        pytest.param("\nname:\n", "2: name: expected a value, got ''", id="null is absent"),
        pytest.param(
            "name: a\nlabels: {x: }", "2: labels: expected `str`, got `null`", id="null label is not absent"
        ),
        pytest.param(
            "name: a\ninner: [null]", "2: inner[0]: expected `object`, got `null`", id="null in a list"
        ),
        pytest.param(
            "name: a\nports:\n- number: 1\n- number: 99999",
            "4: ports[1].number: expected `int` <= 65535, got '99999'",
            id="range, inside a list",
        ),
        pytest.param("name: a\nports: [{}]", "2: ports[0].number: expected a value", id="missing in a list"),
        pytest.param(
            "name: a\nports:\n- number: 1\n  nodePort: 2",
            "4: ports[0].nodePort: expected no such field, got '2'",
            id="unknown field",
        ),
        pytest.param(
            "name: a\nports:\n- number: 1\n  protocol: tcp",
            "4: ports[0].protocol: expected one of TCP, UDP, got 'tcp'",
            id="choice",
        ),
        pytest.param("name: a\nmode: c", "2: mode: expected one of a, b, got 'c'", id="choice with metadata"),
        pytest.param(
            "name: a\ninner:\n- name: b\n  inner: [{name: c},\n    {name: d, ports: [{number: 0}]}]",
            "5: inner[0].inner[1].ports[0].number: expected `int` >= 1, got '0'",
            id="deep",
        ),
        pytest.param("name: a\nlabels:\n  x.y/z: 5", "3: labels: expected `str`, got `int`", id="label"),
        pytest.param("name: a\nlabels:\n  5: x", "3: labels: expected `str`, got `int` as a key", id="key"),
        pytest.param(
            "name: a\nhostName: [\n1]",
            "2: hostName: expected `str | null`, got `array`",
            id="field's own name",
        ),
        pytest.param(
            "&a {name: x, <<: {ports:\n 5}}",
            "1: ports: expected `array | null`, got `int`",
            id="merged field",
        ),
    ],
)
def test_convert_refuses(text: str, error: str) -> None:
    """The line is that of the field; of a field that is not there, that of what should have it."""
    with pytest.raises(ConfigError) as caught:
        parse_documents(text, "a.yaml")[0].convert(Thing)

    assert str(caught.value) == f"a.yaml:{error}"


@pytest.mark.parametrize(
    ("path", "expected", "error"),
    [
        pytest.param((), "expected a", "5: expected a", id="the document itself"),
        pytest.param(("b",), "expected a", "5: b: expected a", id="mapping"),
        pytest.param(("b", 0), "expected a", "5: b[0]: expected a", id="list"),
        pytest.param(("b", 1, "c"), "expected a", "6: b[1].c: expected a, got 'x y'", id="scalar"),
        pytest.param(("b", 1, "c"), "expected a, got b", "6: b[1].c: expected a, got b", id="said already"),
        pytest.param(("b", 1, "d", "e"), "expected a", "6: b[1].d.e: expected a", id="nothing there"),
        pytest.param(("b", 7), "expected a", "5: b[7]: expected a", id="past the end"),
    ],
)
def test_error_in_the_second_document(path: FieldPath, expected: str, error: str) -> None:
    """Lines count from the top of the file, through all documents, the empty ones too."""
    document = parse_documents("a: 1\n---\n---\n# c\nb: [[],\n {c: x y}]\n", "f")[1]

    assert str(document.error(path, expected)) == f"f:{error}"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        pytest.param((), "", id="top"),
        pytest.param(("spec", "ports", 0, "port"), "spec.ports[0].port", id="list in a mapping"),
        pytest.param((0, 1), "[0][1]", id="list in a list"),
    ],
)
def test_field_text(path: FieldPath, text: str) -> None:
    """Paths are written as people write them."""
    assert field_text(path) == text


def test_null_is_absent() -> None:
    """A field that can't be null counts as left out, as Kubernetes reads it, at any depth."""
    (document,) = parse_documents("name: a\nmode:\nlabels: null\ninner:\n- {name: b, mode: , inner: }\n", "f")

    assert document.convert(Thing) == Thing("a", inner=[Thing("b")])


def test_convert_at_a_path() -> None:
    """A part of a document converts on its own; its errors name the whole path."""
    (document,) = parse_documents("things:\n- name: a\n- name:\n  - b\n", "f")

    assert document.convert(Thing, ("things", 0)) == Thing("a")
    with pytest.raises(ConfigError) as caught:
        document.convert(Thing, ("things", 1))
    assert str(caught.value) == "f:4: things[1].name: expected `str`, got `array`"


def refusal(text: str) -> str:
    """Return the error of a text that is read as a `Thing`; empty when there is none."""
    try:
        for document in parse_documents(text, "f"):
            document.convert(Thing)
    except ConfigError as exc:
        return str(exc)
    return ""


@given(GARBAGE | GARBAGE.map(lambda text: f"name: a\nports: {text}"))
@settings(deadline=None)
def test_garbage(text: str) -> None:
    """Any text gives documents or a ConfigError in one line, also when it is typed."""
    error = refusal(text)

    assert error == "" or (error.startswith("f:") and len(error.splitlines()) == 1)


# JSON may hold a few characters as they are that YAML wants escaped (YAML 1.1, section 4.1).
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn"], exclude_characters="\ufeff"))
THINGS = st.recursive(
    st.builds(Thing, TEXTS, labels=st.dictionaries(TEXTS, TEXTS, max_size=2)),
    lambda inner: st.builds(
        Thing,
        TEXTS,
        st.none() | st.lists(st.builds(Port, st.integers(1, 65535)), max_size=2).map(tuple),
        host_name=st.none() | TEXTS,
        inner=st.lists(inner, max_size=2),
    ),
    max_leaves=4,
)


@given(THINGS)
@settings(deadline=None)
def test_round_trip(thing: Thing) -> None:
    """JSON is YAML: what msgspec writes is read back as it was."""
    text = json.dumps(msgspec.to_builtins(thing), ensure_ascii=False)

    assert [document.convert(Thing) for document in parse_documents(text, "f")] == [thing]
