"""The examples are right as they stand; that they do what they say is shown in tests/lab."""

from pathlib import Path

import pytest
import yaml

from netns_lab.loader import read_lab

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_example(file: Path) -> None:
    """Each says how it is brought up, and how it is removed."""
    text = file.read_text()

    assert read_lab(file).topology.name == yaml.safe_load(text)["name"]
    assert text.startswith("# yaml-language-server: $schema=../netns_lab/topology.schema.json\n")
    assert f"netns-lab up examples/{file.name}\n" in text
    assert "netns-lab down\n" in text


def test_names_are_unique() -> None:
    names = [yaml.safe_load(file.read_text())["name"] for file in EXAMPLES]

    assert len(names) == len({*names})
    assert {file.stem for file in EXAMPLES} >= {
        *(
            "two-nodes",
            "three-zones",
            "dual-stack",
            "bgp-racks",
            "hundred-nodes",
            "blue-green",
            "node-failure",
        ),
    }


def test_hundred_nodes_are_a_hundred() -> None:
    topology = read_lab(next(file for file in EXAMPLES if file.stem == "hundred-nodes")).topology

    assert (len(topology.nodes), len(topology.pods)) == (100, 1001)
