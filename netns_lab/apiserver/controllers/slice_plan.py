"""From the endpoints that a Service should have to slices, with as few of them rewritten as possible: pure.

It follows k8s.io/endpointslice's reconcileByPortMapping: what is there and right stays where it is, slices
that have to be written anyway are filled first, then one that has room, then new ones.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from netns_lab.apiserver.controllers.pod_backends import Backend, Backends, BackendSlice, Family, SliceGroup

MAX_ENDPOINTS = 100
"""Endpoints in one slice at most (--max-endpoints-per-slice)."""


class NewSlice(msgspec.Struct, frozen=True):
    """A slice to create."""

    group: SliceGroup
    endpoints: tuple[Backend, ...]


class SlicePlan(msgspec.Struct, frozen=True):
    """What to do with a Service's slices; each name of `update` gets these endpoints."""

    create: tuple[NewSlice, ...] = ()
    update: Mapping[str, tuple[Backend, ...]] = {}
    delete: tuple[str, ...] = ()


def plan_slices(
    backends: Backends, existing: Sequence[BackendSlice], families: Iterable[Family]
) -> SlicePlan:
    """Say what makes `existing` hold `backends`; a family without any keeps one empty slice."""
    groups = dict(backends)
    for family in families:
        if not any(group.family == family for group in groups):
            # Clients tell "no endpoints" from "not looked at yet" by it (newPlaceholderSlice).
            groups[SliceGroup(family, ())] = ()
    here: dict[SliceGroup, list[BackendSlice]] = {}
    for piece in sorted(existing, key=lambda piece: piece.metadata.name):
        here.setdefault(slice_group(piece), []).append(piece)
    create: list[NewSlice] = []
    update: dict[str, tuple[Backend, ...]] = {}
    delete = [piece.metadata.name for group in here.keys() - groups.keys() for piece in here[group]]
    for group, wanted in groups.items():
        content, rest = _keep(wanted, here.get(group, []))
        before = {piece.metadata.name: piece.endpoints for piece in here.get(group, [])}
        rest = _fill(content, before, rest)
        create += [
            NewSlice(group, rest[at : at + MAX_ENDPOINTS]) for at in range(0, len(rest), MAX_ENDPOINTS)
        ]
        if not wanted and not content:
            create.append(NewSlice(group, ()))
        for name, endpoints in _without_empty(content, keep_one=not wanted, dropped=delete):
            if endpoints != before[name]:
                update[name] = endpoints
    return SlicePlan(tuple(create), update, tuple(sorted(delete)))


def slice_group(piece: BackendSlice) -> SliceGroup:
    """Return what a slice's endpoints have in common."""
    return SliceGroup("IPv6" if piece.address_type == "IPv6" else "IPv4", piece.ports)


def _keep(
    wanted: Sequence[Backend], pieces: Iterable[BackendSlice]
) -> tuple[dict[str, tuple[Backend, ...]], tuple[Backend, ...]]:
    """Return each slice with what it holds rightly, brought up to date, and what no slice holds."""
    left = {_identity(backend): backend for backend in wanted}
    content = {
        piece.metadata.name: tuple(
            left.pop(_identity(old)) for old in piece.endpoints if _identity(old) in left
        )
        for piece in pieces
    }
    return content, tuple(left.values())


def _fill(
    content: dict[str, tuple[Backend, ...]],
    before: Mapping[str, Sequence[object]],
    rest: tuple[Backend, ...],
) -> tuple[Backend, ...]:
    """Put what is left into slices, in place; return what needs new ones."""
    for name, endpoints in content.items():
        if endpoints != before[name] and rest:
            room = MAX_ENDPOINTS - len(endpoints)
            content[name], rest = endpoints + rest[:room], rest[room:]
    if rest and len(rest) < MAX_ENDPOINTS:
        # The fullest that has room for all: the others stay as they are for later.
        fitting = [name for name, endpoints in content.items() if len(endpoints) + len(rest) <= MAX_ENDPOINTS]
        if fitting:
            name = max(fitting, key=lambda name: len(content[name]))
            content[name], rest = content[name] + rest, ()
    return rest


def _without_empty(
    content: Mapping[str, tuple[Backend, ...]], *, keep_one: bool, dropped: list[str]
) -> Iterator[tuple[str, tuple[Backend, ...]]]:
    for name, endpoints in content.items():
        if endpoints or keep_one:
            yield name, endpoints
            keep_one = keep_one and bool(endpoints)
        else:
            dropped.append(name)


def _identity(backend: Backend) -> tuple[str, str]:
    return backend.addresses[0], backend.target_ref.uid if backend.target_ref else ""
