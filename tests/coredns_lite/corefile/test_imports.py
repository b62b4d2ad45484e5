"""Snippets, imports and variables: what a Corefile is once all of it is in its place."""

from pathlib import Path

import pytest

from coredns_lite.corefile.parser import Block, Directive, parse_corefile, read_corefile
from nodeplane.errors import ConfigError

FILES = {
    "common": "errors\nlog\n",
    "sites/b.conf": "b {\n import ../common\n}\n",
    "sites/a.conf": "a {\n}\n",
    "sites/.hidden": "nonsense",
    "loop": "import loop\n",
    "open": "a {\n",
    "quote": '"\n',
}


@pytest.fixture
def corefile(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path / "Corefile"


def text_of(blocks: tuple[Block, ...]) -> str:
    """Write blocks on one line."""
    return "; ".join(
        f"{' '.join(label.text for label in block.labels)} {{{', '.join(map(words, block.directives))}}}"
        for block in blocks
    )


def words(directive: Directive) -> str:
    text = " ".join((directive.name.text, *(arg.text for arg in directive.args)))
    return text if directive.block is None else f"{text} {{{', '.join(map(words, directive.block))}}}"


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        pytest.param("(s) {\n log\n}\na {\n import s\n}", "a {log}", id="snippet"),
        pytest.param("(s) { log }\na { import s }", "a {log}", id="on one line"),
        pytest.param("(s) {\n x {\n  y\n }\n}\na {\n import s\n z\n}", "a {x {y}, z}", id="with a block"),
        pytest.param("(s) {\n}\na {\n import s\n log\n}", "a {log}", id="empty snippet"),
        pytest.param("(s) {\n y 1\n}\na {\n x {\n  import s\n }\n}", "a {x {y 1}}", id="options"),
        pytest.param(
            "(s) {\n log\n}\n(t) {\n import s\n}\na {\n import t\n}", "a {log}", id="snippet in one"
        ),
        pytest.param("(s) {\n a {\n  log\n }\n}\nimport s", "a {log}", id="a whole server block"),
        pytest.param("a {\n import common\n x\n}", "a {errors, log, x}", id="file"),
        pytest.param("import sites/*.conf", "a {}; b {errors, log}", id="pattern, relative to each file"),
        pytest.param("a {\n import nothing/*\n}", "a {}", id="a pattern of nothing"),
        pytest.param("a {\n x import\n}", "a {x import}", id="an argument that is called so"),
        pytest.param("{$ZONE}:{%PORT%} {\n x {$TWO}y\n}", "cluster.local:53 {x a by}", id="variables"),
        pytest.param("a {\n x {$NONE} {$NONE}y\n}", "a {x y}", id="variables that are not set"),
        pytest.param('a {\n x "{$ZONE} {$NONE}"\n}', "a {x cluster.local }", id="in quotes"),
        pytest.param("a {\n x {$BRACE}\n}", "a {x {}", id="a brace from a variable opens nothing"),
    ],
)
def test_expand(text: str, meaning: str, corefile: Path) -> None:
    corefile.write_text(text)
    environ = {"ZONE": "cluster.local", "PORT": "53", "TWO": "a b", "BRACE": "{"}

    assert text_of(read_corefile(corefile, environ)) == meaning


def test_a_variable_with_blanks_is_one_word() -> None:
    ((_, directive),) = [
        (block.labels, block.directives[0]) for block in parse_corefile("a {\n x {$V}\n}", "f", {"V": "b c"})
    ]

    assert [arg.text for arg in directive.args] == ["b c"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param(
            "a {\n import nope\n}", "{}:2: nope: expected a snippet or a file, there is neither", id="nothing"
        ),
        pytest.param(
            "a {\n import\n}",
            "{}:2: import: expected one snippet, file or pattern after it, got 0",
            id="alone",
        ),
        pytest.param(
            "a {\n import x y\n}",
            "{}:2: import: expected one snippet, file or pattern after it, got 2",
            id="two names",
        ),
        pytest.param("(s) {\n}\n(s) {\n}\na {\n}", "{}:3: (s): expected each snippet once", id="twice"),
        pytest.param("(s) {\n log\n", "{}:1: {{: expected a '}}' that closes it", id="not closed"),
        pytest.param(
            "(s) {\n log\n} x\na {\n}", "{}:3: x: expected nothing behind the end of a snippet", id="more"
        ),
        pytest.param("(s) {\n}", "{}: expected at least one server block", id="snippets alone"),
        pytest.param(
            "(s) {\n import s\n}\na {\n import s\n}", "{}:2: s: expected imports without a loop", id="itself"
        ),
        pytest.param("import loop", "{0.parent}/loop:1: loop: expected imports without a loop", id="loop"),
        pytest.param(
            "import open", "{0.parent}/open:1: {{: expected a '}}' that closes it", id="in its file"
        ),
        pytest.param("import quote", '{0.parent}/quote:1: ": expected a closing quote', id="a quote"),
    ],
)
def test_refused(text: str, error: str, corefile: Path) -> None:
    corefile.write_text(text)

    with pytest.raises(ConfigError) as caught:
        read_corefile(corefile)

    assert str(caught.value) == error.format(corefile)
