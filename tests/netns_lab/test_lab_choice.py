"""What the shell completes: labs, and the places of one."""

from pathlib import Path

import pytest
from click import Argument, Context
from click.shell_completion import CompletionItem

from netns_lab import state
from netns_lab.cli import program
from netns_lab.lab_choice import complete_lab, complete_place
from netns_lab.topology import ClientSpec, NodeSpec, PodSpec, Topology

PARAM = Argument(["x"])


@pytest.fixture
def two_labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the state of two labs."""
    for name in ("red", "blue"):
        topology = Topology(name, (NodeSpec("n1"),), (PodSpec("web", "n1"),), clients=(ClientSpec("out"),))
        state.StateDirectory(name, tmp_path).save_topology(topology)
    monkeypatch.setattr(state, "ROOT", tmp_path)
    monkeypatch.setattr(state.saved_labs, "__defaults__", (tmp_path,))
    monkeypatch.setattr(state.StateDirectory.__init__, "__defaults__", (tmp_path,))


def texts(items: list[CompletionItem]) -> list[str]:
    return [item.value for item in items]


@pytest.mark.usefixtures("two_labs")
def test_labs() -> None:
    context = Context(program)

    assert texts(complete_lab(context, PARAM, "")) == ["blue", "red"]
    assert texts(complete_lab(context, PARAM, "r")) == ["red"]


@pytest.mark.usefixtures("two_labs")
@pytest.mark.parametrize(
    ("lab", "text", "places"),
    [
        pytest.param("red", "", ["n1", "out", "default/web"], id="of a lab"),
        pytest.param("red", "o", ["out"], id="that begin so"),
        pytest.param(None, "", [], id="of one of two labs: nobody knows"),
    ],
)
def test_places(lab: str | None, text: str, places: list[str]) -> None:
    context = Context(program)
    context.params["lab"] = lab

    assert texts(complete_place(context, PARAM, text)) == places
