"""The pages of the plugins: current, and their examples right."""

from pathlib import Path

import pytest

from coredns_lite.config import decode_config
from coredns_lite.corefile.parser import parse_corefile
from coredns_lite.docs import main, read_examples, read_text, render_pages
from coredns_lite.plugins import PLUGINS

FOLDER = Path(__file__).parents[2] / "docs" / "plugins"


def read(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_pages_are_current() -> None:
    """`python -m coredns_lite.docs` would change nothing."""
    assert read(FOLDER) == render_pages()


@pytest.mark.parametrize("name", PLUGINS)
def test_examples(name: str) -> None:
    """Each plugin has an example, which uses it and which the program takes."""
    examples = [*read_examples(read_text(name))]

    assert examples
    for example in examples:
        listeners = decode_config(parse_corefile(example, "Corefile"))
        assert any(name in site.plugins for listener in listeners for site in listener.sites)


@pytest.mark.parametrize("name", PLUGINS)
def test_shape(name: str) -> None:
    """One line that says what it does, then the syntax."""
    first, *rest = read_text(name).splitlines()

    assert first.endswith(".")
    assert not rest[0]
    assert "Syntax:" in rest


def test_pages_of_plugins_that_are_gone(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("gone")
    main(tmp_path)

    assert read(tmp_path) == render_pages()
