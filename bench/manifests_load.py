"""Seconds until a directory of manifests is loaded: 10,000 Services, and the same with their slices.

The objects are what people keep in a repository, without what a server adds; in one file or in a file each,
as JSON and as YAML in blocks. "Loaded" is the first batch: found, watched, read, checked and compared. The
peer only parses the same files: `json.loads`, or PyYAML's `CSafeLoader` (libyaml).
"""

import argparse
import asyncio
import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bench.cluster_objects import endpoint_slice, service
from bench.figure import median, report
from nodeplane.kube.manifests import ManifestDirectory
from nodeplane.kube.objects import EndpointSlice, Service

_KEPT = ("name", "namespace", "labels")


class Form(NamedTuple):
    """A way to write manifests down, and what the peer reads it with."""

    name: str
    write: Callable[[Path, Sequence[dict[str, Any]]], None]
    parse: Callable[[bytes], object]
    peer_name: str
    goal: str | None


def objects(count: int, *, with_slices: bool) -> Iterator[dict[str, Any]]:
    """Yield Services, each with its slice of four endpoints if wanted."""
    for number in range(count):
        yield keep({"apiVersion": "v1", "kind": "Service", **service(number)})
        if with_slices:
            piece = endpoint_slice(number)
            yield keep({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", **piece})


def keep(item: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a server adds."""
    metadata = {name: item["metadata"][name] for name in _KEPT}
    return {**{name: value for name, value in item.items() if name != "status"}, "metadata": metadata}


def render_yaml(value: Any, indent: str = "") -> str:
    """Render a value as kubectl does: blocks, lists not indented. None of our texts needs quotes."""
    if isinstance(value, dict):
        return "".join(f"{indent}{name}:{render_inner(inner, indent)}" for name, inner in value.items())
    return "".join(
        f"{indent}- {render_yaml(item, indent + '  ').lstrip()}"
        if isinstance(item, dict)
        else f"{indent}- {item}\n"
        for item in value
    )


def render_inner(value: Any, indent: str) -> str:
    """Render what stands behind a key."""
    if isinstance(value, dict):
        return "\n" + render_yaml(value, indent + "  ")
    if isinstance(value, list):
        return "\n" + render_yaml(value, indent)
    return f" {json.dumps(value) if isinstance(value, bool) else value}\n"


def write_one_json(directory: Path, items: Sequence[dict[str, Any]]) -> None:
    """Write a List, as `kubectl get -o json` does."""
    document = {"apiVersion": "v1", "kind": "List", "items": items}
    (directory / "all.json").write_text(json.dumps(document))


def write_one_yaml(directory: Path, items: Sequence[dict[str, Any]]) -> None:
    """Write one file of a document each."""
    (directory / "all.yaml").write_text("".join(f"---\n{render_yaml(item)}" for item in items))


def write_json_each(directory: Path, items: Sequence[dict[str, Any]]) -> None:
    """Write a file each."""
    for number, item in enumerate(items):
        (directory / f"{number}.json").write_text(json.dumps(item))


def write_yaml_each(directory: Path, items: Sequence[dict[str, Any]]) -> None:
    """Write a file each."""
    for number, item in enumerate(items):
        (directory / f"{number}.yaml").write_text(render_yaml(item))


def parse_yaml(content: bytes) -> object:
    """Parse all documents, as most programs in Python do that care for time."""
    return list(yaml.load_all(content, Loader=yaml.CSafeLoader))


JSON_PEER, YAML_PEER = "json.loads of the same files", "yaml.CSafeLoader of the same files"
FORMS = [
    Form("json", write_one_json, json.loads, JSON_PEER, "ours <= 1.0"),
    Form("json_file_each", write_json_each, json.loads, JSON_PEER, "ours <= 1.0"),
    Form("yaml", write_one_yaml, parse_yaml, YAML_PEER, "ours <= 1.0"),
    Form("yaml_file_each", write_yaml_each, parse_yaml, YAML_PEER, "ours <= 1.0"),
]


async def load(directory: Path) -> int:
    """Return the number of objects in the first batch."""
    async with aclosing(ManifestDirectory(directory).batches((Service, EndpointSlice))) as batches:
        return len(await anext(batches))


def measure_ours(directory: Path, count: int) -> float:
    """Return the seconds until the first batch."""
    started = time.perf_counter()
    loaded = asyncio.run(load(directory))
    seconds = time.perf_counter() - started
    assert loaded == count
    return seconds


def measure_peer(form: Form, directory: Path) -> float:
    """Return the seconds that it takes to read and parse the files, and keep what they say."""
    started = time.perf_counter()
    held = [form.parse(path.read_bytes()) for path in directory.iterdir()]
    seconds = time.perf_counter() - started
    assert held
    return seconds


def main() -> None:
    """Measure each form, ours and the peer in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, fewer slices")
    parser.add_argument("--services", type=int, default=10_000)
    arguments = parser.parse_args()
    few = arguments.services // 5 if arguments.quick else arguments.services
    for what, count in (("services", arguments.services), ("services_and_slices", few)):
        with_slices = what != "services"
        rounds = 5 if not arguments.quick else 1 if with_slices else 3
        items = list(objects(count, with_slices=with_slices))
        # They are not what is measured: no collection need go through them.
        gc.freeze()
        for form in FORMS:
            with tempfile.TemporaryDirectory() as name:
                directory = Path(name)
                form.write(directory, items)
                pairs = [
                    (measure_ours(directory, len(items)), measure_peer(form, directory))
                    for _ in range(rounds)
                ]
            report(
                f"manifests_load_{form.name}_{count}_{what}",
                "s",
                median([ours for ours, _ in pairs]),
                peer=median([peer for _, peer in pairs]),
                peer_name=form.peer_name,
                goal=None if with_slices else form.goal,
            )


if __name__ == "__main__":
    main()
