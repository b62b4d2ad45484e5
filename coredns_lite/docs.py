"""Writes a page for each plugin from its docstring (docs/plugins): `python -m coredns_lite.docs [DIR]`."""

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from coredns_lite.plugins import PLUGINS

FOLDER = Path("docs/plugins")
_EXAMPLE = re.compile(r"^```corefile\n(.*?)^```", re.MULTILINE | re.DOTALL)
_GENERATED = "<!-- Generated from the module's docstring by `python -m coredns_lite.docs`: edit that. -->"


def render_pages() -> Mapping[str, str]:
    """Return the text of every page by its file's name."""
    pages = {f"{name}.md": f"# {name}\n\n{_GENERATED}\n\n{read_text(name)}\n" for name in PLUGINS}
    return {"README.md": _render_contents(), **pages}


def read_text(name: str) -> str:
    """Return what a plugin's module says of it, from which its page is made."""
    return inspect.cleandoc(PLUGINS[name].__doc__ or "").strip()


def read_examples(text: str) -> Iterator[str]:
    """Yield the Corefiles in a page."""
    for match in _EXAMPLE.finditer(text):
        yield match[1]


def _render_contents() -> str:
    rows = [f"| [{name}]({name}.md) | {read_text(name).splitlines()[0]} |" for name in PLUGINS]
    return "\n".join([
        "# Plugins of coredns-lite", "", _GENERATED, "",
        "A query meets the plugins of its server block in this order, whatever the Corefile's.", "",
        "| plugin | what it does |", "|---|---|", *rows, "",
    ])  # fmt: skip


def main(folder: Path) -> None:
    """Write the pages and remove those of plugins that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = render_pages()
    for path in folder.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
