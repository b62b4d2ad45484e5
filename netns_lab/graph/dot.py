"""A picture in Graphviz's language (graphviz.org/doc/info/lang.html), for dot(1). Pure."""

import json
from collections.abc import Iterator

from netns_lab.graph.picture import HostBox, Picture

_SHAPES = {"node": "box", "router": "hexagon", "client": "ellipse"}


def render_dot(picture: Picture) -> str:
    """Write a picture as an undirected graph."""
    return "\n".join(_lines(picture)) + "\n"


def _lines(picture: Picture) -> Iterator[str]:
    hosts = {host.name for host in picture.hosts}
    yield f"graph {_text(picture.lab)} {{"
    yield "  node [fontname=sans]; edge [fontname=sans]; compound=true;"
    for segment in picture.segments:
        label = _text(segment.name, segment.network)
        yield f"  {_text('segment ' + segment.name)} [shape=underline label={label}];"
    for number, host in enumerate(picture.hosts):
        yield from _host(host, number)
        for segment_name in host.segments:
            label = f" [label={_text(host.trouble[segment_name])}]" if host.trouble.get(segment_name) else ""
            yield f"  {_text('segment ' + segment_name)} -- {_text('host ' + host.name)}{label};"
    for service in picture.services:
        own = _text("service " + service.key)
        yield f"  {own} [shape=cds label={_text(service.key, service.address, service.ports)}];"
        for end in service.behind:
            kind = "host " if end in hosts else "pod "
            yield f"  {own} -- {_text(kind + end)} [style=dashed dir=forward];"
    yield "}"


def _host(host: HostBox, number: int) -> Iterator[str]:
    label = _text(host.name, host.address, f"zone {host.zone}" if host.zone else "")
    own = _text("host " + host.name)
    yield f"  subgraph cluster_{number} {{ style=rounded;"
    yield f"    {own} [shape={_SHAPES[host.kind]} label={label}];"
    for pod in host.pods:
        trouble = f" [label={_text(pod.trouble)}]" if pod.trouble else ""
        yield f"    {_text('pod ' + pod.key)} [shape=box style=rounded label={_text(pod.key, pod.address)}];"
        yield f"    {own} -- {_text('pod ' + pod.key)}{trouble};"
    yield "  }"


def _text(*lines: str) -> str:
    # JSON's string is one of DOT's: only the quote and the backslash need care, and \n is a line's end.
    return json.dumps("\n".join(line for line in lines if line), ensure_ascii=False)
