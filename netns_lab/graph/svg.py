"""A picture as SVG, laid out by us: a bar for each segment, its hosts below it, in each node its pods. Pure.

A router hangs below the first of its segments; lines in the left margin lead to the others. Services stand at
the bottom, and in the pods behind them by number: lines between them would cover all else. What stands for
a place, a link or a Service says so in `data-` attributes: the web page finds it by them.
"""

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

import msgspec

from netns_lab.graph.picture import HostBox, Picture, PodBox, ServiceChip
from netns_lab.names import UPLINK

_MARGIN, _GAP = 24, 16
_GUTTER = 18
_BAR = 30
_HOST_WIDTH, _HOST_HEAD = 216, 46
_POD = 40
_DROP = 34
"""From a bar to its hosts."""
_COLUMNS = 5
_SERVICE = 26
_LETTER = 6.4
_NAMED = 4

_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1c2430 }
.small { font-size: 11px; fill: #566273 }
.rate { font-size: 10px; fill: #35618f }
.trouble { font-size: 11px; fill: #b3261e }
.bar { fill: #dbe7f6; stroke: #5b84b8 }
.node { fill: #ffffff; stroke: #5b6b7f }
.router { fill: #fdf3dc; stroke: #b58a2a }
.client { fill: #e9f5ea; stroke: #4e8d57 }
.pod { fill: #f3f5f8; stroke: #b6c0cc }
.wire { fill: none; stroke: #5b6b7f; stroke-width: 1.5 }
.hit { fill: none; stroke: transparent; stroke-width: 14; pointer-events: stroke }
.badge { fill: #4f5fc4 } .badge-text { font-size: 10px; fill: #ffffff }
"""


class _Row(msgspec.Struct, frozen=True):
    """A segment's bar and its hosts, in lines of `_COLUMNS`."""

    segment: str
    network: str
    top: float
    lines: tuple[tuple[HostBox, ...], ...]
    tops: tuple[float, ...]


def render_svg(picture: Picture) -> str:
    """Draw a picture."""
    rows = [*_rows(picture)]
    gutter = _GUTTER * sum(len(host.segments) - 1 for host in picture.hosts)
    left = _MARGIN + gutter
    columns = max((len(line) for row in rows for line in row.lines), default=1)
    wide = left + columns * (_HOST_WIDTH + _GAP) - _GAP + _MARGIN
    longest = max((len(_describe(chip)) for chip in picture.services), default=0)
    width = max(wide, left + 26 + longest * _LETTER + _MARGIN)
    bottom = max((_end(row) for row in rows), default=_MARGIN)
    height = bottom + _GAP + _SERVICE * len(picture.services) + _MARGIN
    numbers = {chip.key: number for number, chip in enumerate(picture.services, 1)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img">',
        f"<title>{escape(picture.lab)}</title>",
        f"<style>{_STYLE}</style>",
        *_wires(rows, left),
        *(part for row in rows for part in _bar(row, left, width)),
        *(part for row in rows for part in _hosts(row, left, numbers)),
        *_services(picture.services, left, bottom + _GAP),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _rows(picture: Picture) -> Iterator[_Row]:
    top: float = _MARGIN
    for segment in picture.segments:
        own = [host for host in picture.hosts if host.segments[0] == segment.name]
        lines = tuple(tuple(own[at : at + _COLUMNS]) for at in range(0, len(own), _COLUMNS))
        tops: list[float] = []
        place = top + _BAR + _DROP
        for line in lines:
            tops.append(place)
            place += max(map(_height, line)) + _DROP
        row = _Row(segment.name, segment.network, top, lines, tuple(tops))
        yield row
        top = _end(row) + _DROP


def _end(row: _Row) -> float:
    if not row.lines:
        return row.top + _BAR
    return row.tops[-1] + max(map(_height, row.lines[-1]))


def _height(host: HostBox) -> float:
    return _HOST_HEAD + len(host.pods) * (_POD + 6) + (6 if host.pods else 0)


def _bar(row: _Row, left: float, width: float) -> Iterator[str]:
    yield _box("bar", (left, row.top), width - left - _MARGIN, _BAR, 4)
    yield _words(left + 10, row.top + 20, f"{row.segment}  {row.network}")


def _hosts(row: _Row, left: float, numbers: dict[str, int]) -> Iterator[str]:
    for line, top in zip(row.lines, row.tops, strict=True):
        for column, host in enumerate(line):
            at = left + column * (_HOST_WIDTH + _GAP)
            yield f"<g{_data(place=host.name)}>"
            yield _box(host.kind, (at, top), _HOST_WIDTH, _height(host), 8)
            zone = f"  zone {host.zone}" if host.zone else ""
            kind = "" if host.kind == "node" else f"  ({host.kind})"
            yield _words(at + 10, top + 18, f"{host.name}{kind}{zone}")
            yield _words(at + 10, top + 35, _fit(host.address, _HOST_WIDTH - 20), "small")
            if host.segments[0] in host.trouble:
                yield _words(at + 112, top - 8, host.trouble[host.segments[0]], "trouble")
            yield _rate(at + _HOST_WIDTH - 8, top + 35, host.name, link_of(host, host.segments[0]))
            for number, pod in enumerate(host.pods):
                yield from _pod(pod, at + 8, top + _HOST_HEAD + number * (_POD + 6), numbers)
            yield "</g>"


def _pod(pod: PodBox, left: float, top: float, numbers: dict[str, int]) -> Iterator[str]:
    width = _HOST_WIDTH - 16
    yield f"<g{_data(pod=pod.key)}>"
    yield _box("pod", (left, top), width, _POD, 6)
    badges = [numbers[key] for key in pod.services if key in numbers]
    yield _words(left + 8, top + 16, _fit(pod.key, width - 16 - 22 * len(badges)))
    yield _words(left + 8, top + 32, _fit(pod.address, width - 16), "small")
    if pod.trouble:
        yield _words(left + 96, top + 32, _fit(pod.trouble, width - 100), "trouble")
    for place, number in enumerate(badges):
        yield from _badge(left + width - 22 * (len(badges) - place), top + 6, number)
    yield _rate(left + width - 6, top + 32, pod.key, UPLINK)
    yield "</g>"


def _badge(left: float, top: float, number: int) -> Iterator[str]:
    yield _box("badge", (left, top), 18, 14, 7)
    yield f'<text class="badge-text" x="{left + 9:g}" y="{top + 11:g}" text-anchor="middle">{number}</text>'


def _services(chips: Sequence[ServiceChip], left: float, top: float) -> Iterator[str]:
    for number, chip in enumerate(chips, 1):
        at = top + (number - 1) * _SERVICE
        yield f"<g{_data(service=chip.key)}>"
        yield from _badge(left, at, number)
        yield _words(left + 26, at + 12, _describe(chip))
        yield "</g>"


def _describe(chip: ServiceChip) -> str:
    """Write a Service with its ports and endpoints, and whose the first few of these are."""
    count = f"{chip.endpoints or 'no'} endpoint{'' if chip.endpoints == 1 else 's'}"
    names = ", ".join([*chip.behind[:_NAMED], *(["…"] if len(chip.behind) > _NAMED else [])])
    behind = f"{count}: {names}" if names else count
    return "  ".join(part for part in (chip.key, chip.address, chip.ports, behind) if part)


def _wires(rows: Sequence[_Row], left: float) -> Iterator[str]:
    """Draw a line from each host up to its bar, and from routers to their other bars."""
    bars = {row.segment: row.top for row in rows}
    lane = 0
    for row in rows:
        for line, top in zip(row.lines, row.tops, strict=True):
            for column, host in enumerate(line):
                middle = left + column * (_HOST_WIDTH + _GAP) + _HOST_WIDTH / 2
                own = link_of(host, host.segments[0])
                yield _wire(f"M{middle:g} {top:g} V{row.top + _BAR:g}", host.name, own)
                for number, segment in enumerate(host.segments[1:], 1):
                    lane += 1
                    # Routers come first in a line; from another column the way leads over its neighbours.
                    start = f"M{left:g} {top + 8 * number:g}"
                    if column:
                        start = f"M{middle - 8 * number:g} {top:g} V{top - 4 * number:g}"
                    end = f"V{bars[segment] + _BAR / 2:g} H{left:g}"
                    way = f"{start} H{left - lane * _GUTTER:g} {end}"
                    yield _wire(way, host.name, link_of(host, segment))


def link_of(host: HostBox, segment: str) -> str:
    """Name a host's link to a segment: a router's has the segment's name."""
    return segment if host.kind == "router" else UPLINK


def _wire(path: str, place: str, link: str) -> str:
    # A line is too thin to be met by a mouse: a broad one that is not seen lies over it.
    lines = f'<path class="wire" d="{path}"/><path class="hit" d="{path}"/>'
    return f"<g{_data(link=f'{place} {link}')}>{lines}</g>"


def _rate(right: float, top: float, place: str, link: str) -> str:
    """Leave room for what passes a link; only the web page fills it in."""
    return f'<text class="rate" text-anchor="end" x="{right:g}" y="{top:g}"{_data(rate=f"{place} {link}")}/>'


def _data(**values: str) -> str:
    return "".join(f" data-{name}={quoteattr(value)}" for name, value in values.items())


def _box(kind: str, place: tuple[float, float], width: float, height: float, radius: float) -> str:
    size = f'width="{width:g}" height="{height:g}" rx="{radius:g}"'
    return f'<rect class="{kind}" x="{place[0]:g}" y="{place[1]:g}" {size}/>'


def _words(left: float, top: float, text: str, kind: str = "") -> str:
    chosen = f' class="{kind}"' if kind else ""
    return f'<text{chosen} x="{left:g}" y="{top:g}">{escape(text)}</text>'


def _fit(text: str, width: float) -> str:
    """Shorten a text in the middle: its ends tell names and addresses of IPv6 apart."""
    most = max(int(width / _LETTER), 3)
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}…{text[len(text) - (most - most // 2 - 1) :]}"
