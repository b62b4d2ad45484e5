"""The topology file: what its fields become, and the schema that editors use."""

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml

from netns_lab.loader import DEMO_FILE, read_lab
from netns_lab.topology import Network, NodeSpec, PodSpec, PortSpec, Topology, json_schema

EXAMPLES = sorted(Path(__file__).parents[2].joinpath("examples").glob("*.yaml"))


@pytest.mark.parametrize(
    ("value", "topology"),
    [
        pytest.param(
            {"name": "a", "nodes": [{"name": "n1"}]},
            Topology("a", (NodeSpec("n1"),), (), Network(), ()),
            id="defaults",
        ),
        pytest.param(
            {
                "name": "a",
                "nodes": [{"name": "n1", "address": "10.0.0.9", "zone": "z", "labels": {"k": "v"}}],
                "pods": [
                    {"name": "p", "node": "n1", "namespace": "x", "ports": [{"port": 7, "protocol": "UDP"}]},
                    {"name": "q", "node": "n1", "command": ["sleep", "9"]},
                ],
                "network": {"segment": "10.0.0.0/24", "serviceCIDR": "10.1.0.0/24", "clusterDNS": "10.1.0.2"},
                "manifests": ["web.yaml", {"kind": "Service"}],
            },
            Topology(
                "a",
                (NodeSpec("n1", "10.0.0.9", "z", {"k": "v"}),),
                (
                    PodSpec("p", "n1", "x", ports=(PortSpec(7, protocol="UDP"),)),
                    PodSpec("q", "n1", command=("sleep", "9")),
                ),
                Network("10.0.0.0/24", service_cidr="10.1.0.0/24", cluster_dns="10.1.0.2"),
                ("web.yaml", {"kind": "Service"}),
            ),
            id="everything",
        ),
    ],
)
def test_decode(value: object, topology: Topology) -> None:
    assert msgspec.convert(value, Topology) == topology


def test_topology_survives_its_own_encoding() -> None:
    topology = read_lab(DEMO_FILE).topology

    assert msgspec.json.decode(msgspec.json.encode(topology), type=Topology) == topology


def test_published_schema_is_the_one_of_the_structs() -> None:
    """Renew it with `netns-lab schema > netns_lab/topology.schema.json`."""
    published = json.loads(files("netns_lab").joinpath("topology.schema.json").read_text())

    assert published == json.loads(json.dumps(json_schema()))


@pytest.mark.parametrize("path", [DEMO_FILE, *EXAMPLES], ids=lambda path: path.name)
def test_ready_made_topologies_are_valid(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), json_schema())

    assert read_lab(path).topology.nodes


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"name": "a"}, id="no nodes"),
        pytest.param({"name": "a-b", "nodes": [{"name": "n1"}]}, id="a lab's name with a dash"),
        pytest.param({"name": "a", "nodes": [{"name": "n1", "adress": "10.0.0.1"}]}, id="a misspelt field"),
        pytest.param(
            {
                "name": "a",
                "nodes": [{"name": "n1"}],
                "pods": [{"name": "p", "node": "n1", "ports": [{"port": 0}]}],
            },
            id="port 0",
        ),
    ],
)
def test_schema_refuses(value: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, json_schema())
