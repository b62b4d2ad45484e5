"""A lab's drawing, in each language."""

import json
import os
import subprocess
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import msgspec
import pytest

from netns_lab.graph.dot import render_dot
from netns_lab.graph.mermaid import render_mermaid
from netns_lab.graph.picture import (
    HostBox,
    Picture,
    PodBox,
    SegmentBar,
    ServiceChip,
    build_picture,
)
from netns_lab.graph.svg import render_svg
from netns_lab.topology import Topology
from nodeplane.kube.objects import EndpointSlice, Service
from tests.lab.labs import COMMAND

EXAMPLES = Path(__file__).parents[3] / "examples"

TOPOLOGY = msgspec.convert(
    {
        "name": "small",
        "nodes": [{"name": "n1", "zone": "a", "link": {"loss": 5, "rate": "10mbit"}}],
        "clients": [{"name": "out"}],
        "pods": [{"name": "web-1", "node": "n1", "link": {"down": True}}],
    },
    Topology,
)
SERVICE = msgspec.convert(
    {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.80", "ports": [{"port": 80}]},
    },
    Service,
)
SLICE = msgspec.convert(
    {
        "metadata": {
            "name": "web-x",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.244.0.1"]},
            {"addresses": ["172.30.0.2"]},
            {"addresses": ["10.244.0.9"], "conditions": {"ready": False}},
        ],
        "ports": [{"port": 8080}],
    },
    EndpointSlice,
)
PICTURE = Picture(
    "small",
    (SegmentBar("segment", "172.30.0.0/24"),),
    (
        HostBox(
            "n1",
            "node",
            "172.30.0.2",
            ("segment",),
            "a",
            (PodBox("default/web-1", "10.244.0.1", ("default/web",), "down"),),
            {"segment": "loss 5%, 10mbit"},
        ),
        HostBox("out", "client", "172.30.0.3", ("segment",)),
    ),
    (ServiceChip("default/web", "10.96.0.80", "TCP/80", 2, ("default/web-1", "n1")),),
)


def test_picture() -> None:
    addresses = {"default/web-1": (ip_address("10.244.0.1"),)}

    assert build_picture(TOPOLOGY, addresses, [SERVICE, SLICE]) == PICTURE


def test_mermaid() -> None:
    assert (
        render_mermaid(PICTURE)
        == """flowchart TB
  n0[/"segment<br>172.30.0.0/24"/]
  n1["n1<br>172.30.0.2<br>zone a"]
  n2("default/web-1<br>10.244.0.1")
  n1 ---|"down"| n2
  n3(["out<br>172.30.0.3"])
  n0 ---|"loss 5%, 10mbit"| n1
  n0 --- n3
  n4>"default/web<br>10.96.0.80<br>TCP/80"]
  n4 -.-> n2
  n4 -.-> n1
"""
    )


def test_dot() -> None:
    assert (
        render_dot(PICTURE)
        == """graph "small" {
  node [fontname=sans]; edge [fontname=sans]; compound=true;
  "segment segment" [shape=underline label="segment\\n172.30.0.0/24"];
  subgraph cluster_0 { style=rounded;
    "host n1" [shape=box label="n1\\n172.30.0.2\\nzone a"];
    "pod default/web-1" [shape=box style=rounded label="default/web-1\\n10.244.0.1"];
    "host n1" -- "pod default/web-1" [label="down"];
  }
  "segment segment" -- "host n1" [label="loss 5%, 10mbit"];
  subgraph cluster_1 { style=rounded;
    "host out" [shape=ellipse label="out\\n172.30.0.3"];
  }
  "segment segment" -- "host out";
  "service default/web" [shape=cds label="default/web\\n10.96.0.80\\nTCP/80"];
  "service default/web" -- "pod default/web-1" [style=dashed dir=forward];
  "service default/web" -- "host n1" [style=dashed dir=forward];
}
"""
    )


class Box(NamedTuple):
    kind: str
    left: float
    top: float
    right: float
    bottom: float

    def holds(self, other: "Box") -> bool:
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.right >= other.right
            and self.bottom >= other.bottom
        )

    def meets(self, other: "Box") -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def _boxes(svg: str) -> tuple[list[Box], Box]:
    root = ElementTree.fromstring(svg)  # noqa: S314 - our own
    found = [
        Box(part.attrib["class"], left, top, left + width, top + height)
        for part in root.iter("{http://www.w3.org/2000/svg}rect")
        for left, top, width, height in [[float(part.attrib[key]) for key in ("x", "y", "width", "height")]]
    ]
    return found, Box("all", 0, 0, float(root.attrib["width"]), float(root.attrib["height"]))


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_example_is_drawn_without_a_box_upon_another(file: Path) -> None:
    """And by the command, without root or a lab."""
    done = {
        language: subprocess.run(
            [COMMAND, "graph", "--file", str(file), "-o", language],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for language in ("svg", "json")
    }
    boxes, whole = _boxes(done["svg"])
    picture: dict[str, Any] = json.loads(done["json"])

    hosts = [box for box in boxes if box.kind in {"node", "router", "client"}]
    pods = [box for box in boxes if box.kind == "pod"]
    assert len(hosts) == len(picture["hosts"])
    assert len(pods) == sum(len(host["pods"]) for host in picture["hosts"])
    assert all(whole.holds(box) for box in boxes)
    outer = [box for box in boxes if box.kind not in {"pod", "badge"}]
    assert not [(a, b) for place, a in enumerate(outer) for b in outer[place + 1 :] if a.meets(b)]
    assert all(sum(host.holds(pod) for host in hosts) == 1 for pod in pods)


def test_text_is_escaped_and_shortened_in_the_middle() -> None:
    pod = PodBox("default/" + "x" * 60 + "-1", "<&>")
    host = msgspec.structs.replace(PICTURE.hosts[0], pods=(pod,))
    svg = render_svg(msgspec.structs.replace(PICTURE, hosts=(host,)))

    texts = [part.text or "" for part in ElementTree.fromstring(svg).iter()]  # noqa: S314 - our own
    assert "<&>" in texts
    assert any(text.startswith("default/xx") and "…" in text and text.endswith("x-1") for text in texts)


def test_a_file_and_a_lab_are_one_too_many() -> None:
    done = subprocess.run(
        [COMMAND, "graph", "demo", "--file", str(EXAMPLES / "two-nodes.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (2, "netns-lab: expected a LAB or --file, not both\n")


def test_a_file_wins_over_the_variable() -> None:
    done = subprocess.run(
        [COMMAND, "graph", "--file", str(EXAMPLES / "two-nodes.yaml"), "-o", "json"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NETNS_LAB_NAME": "nolabhasthisname"},
    )

    assert json.loads(done.stdout)["lab"] == "twonodes"
