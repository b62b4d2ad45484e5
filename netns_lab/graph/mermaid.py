"""A picture as Mermaid's flowchart (mermaid.js.org), which code hosts draw by themselves. Pure."""

from collections.abc import Iterator

from netns_lab.graph.picture import HostBox, Picture

_SHAPES = {"node": ("[", "]"), "router": ("{{", "}}"), "client": ("([", "])")}


def render_mermaid(picture: Picture) -> str:
    """Write a picture as a flowchart."""
    return "\n".join(_lines(picture)) + "\n"


def _lines(picture: Picture) -> Iterator[str]:
    numbers: dict[str, str] = {}

    def name(key: str) -> str:
        # Names may hold what Mermaid reads as words of its own (`end`): numbers can't.
        return numbers.setdefault(key, f"n{len(numbers)}")

    yield "flowchart TB"
    for segment in picture.segments:
        yield f"  {name('segment ' + segment.name)}[/{_text(segment.name, segment.network)}/]"
    for host in picture.hosts:
        yield from _host(
            host, name("host " + host.name), {pod.key: name("pod " + pod.key) for pod in host.pods}
        )
    for host in picture.hosts:
        for segment_name in host.segments:
            trouble = host.trouble.get(segment_name)
            label = f"|{_text(trouble)}|" if trouble else ""
            yield f"  {name('segment ' + segment_name)} ---{label} {name('host ' + host.name)}"
    for service in picture.services:
        own = name("service " + service.key)
        yield f"  {own}>{_text(service.key, service.address, service.ports)}]"
        hosts = {host.name for host in picture.hosts}
        for end in service.behind:
            yield f"  {own} -.-> {name(('host ' if end in hosts else 'pod ') + end)}"


def _host(host: HostBox, own: str, pods: dict[str, str]) -> Iterator[str]:
    label = _text(host.name, host.address, f"zone {host.zone}" if host.zone else "")
    opening, closing = _SHAPES[host.kind]
    yield f"  {own}{opening}{label}{closing}"
    for pod in host.pods:
        yield f"  {pods[pod.key]}({_text(pod.key, pod.address)})"
        trouble = f"|{_text(pod.trouble)}|" if pod.trouble else ""
        yield f"  {own} ---{trouble} {pods[pod.key]}"


def _text(*lines: str) -> str:
    escaped = (
        line.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;") for line in lines if line
    )
    return '"' + "<br>".join(escaped) + '"'
