"""Slices hold what they should, and few of them are written."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netns_lab.apiserver.controllers.pod_backends import (
    Backend,
    Backends,
    BackendSlice,
    PodReference,
    SliceGroup,
)
from netns_lab.apiserver.controllers.slice_plan import MAX_ENDPOINTS, NewSlice, SlicePlan, plan_slices
from nodeplane.kube.objects import EndpointPort, Metadata

HTTP = SliceGroup("IPv4", (EndpointPort(name="http", port=8080),))
OTHER = SliceGroup("IPv4", (EndpointPort(name="http", port=9090),))


def backend(number: int, node: str = "n1") -> Backend:
    address = f"10.244.{number // 250}.{number % 250 + 1}"
    return Backend(
        addresses=(address,), node_name=node, target_ref=PodReference(name=f"p{number}", uid=f"u{number}")
    )


def some(*numbers: int) -> tuple[Backend, ...]:
    return tuple(backend(number) for number in numbers)


def piece(name: str, group: SliceGroup, endpoints: tuple[Backend, ...]) -> BackendSlice:
    return BackendSlice(Metadata(name), group.family, raw_endpoints=endpoints, raw_ports=group.ports)


@pytest.mark.parametrize(
    ("wanted", "existing", "expected"),
    [
        pytest.param(
            {}, [], SlicePlan(create=(NewSlice(SliceGroup("IPv4", ()), ()),)), id="nothing: a placeholder"
        ),
        pytest.param({HTTP: some(1, 2)}, [], SlicePlan(create=(NewSlice(HTTP, some(1, 2)),)), id="the first"),
        pytest.param({HTTP: some(1)}, [piece("a", HTTP, some(1))], SlicePlan(), id="as it should be"),
        pytest.param(
            {HTTP: some(1, 2)},
            [piece("a", HTTP, some(1))],
            SlicePlan(update={"a": some(1, 2)}),
            id="one more goes in",
        ),
        pytest.param(
            {HTTP: some(2)}, [piece("a", HTTP, some(1, 2))], SlicePlan(update={"a": some(2)}), id="one less"
        ),
        pytest.param(
            {HTTP: (backend(1, "n2"),)},
            [piece("a", HTTP, some(1))],
            SlicePlan(update={"a": (backend(1, "n2"),)}),
            id="changed in place",
        ),
        pytest.param(
            {HTTP: some(1), OTHER: some(2)},
            [piece("a", HTTP, some(1, 2))],
            SlicePlan(create=(NewSlice(OTHER, some(2)),), update={"a": some(1)}),
            id="other ports, another slice",
        ),
        pytest.param(
            {HTTP: some(1)},
            [piece("a", HTTP, some(1)), piece("b", HTTP, some(2))],
            SlicePlan(delete=("b",)),
            id="an empty one goes",
        ),
        pytest.param(
            {HTTP: some(1)},
            [piece("a", SliceGroup("IPv4", ()), ())],
            SlicePlan(create=(NewSlice(HTTP, some(1)),), delete=("a",)),
            id="the placeholder goes",
        ),
        pytest.param(
            {HTTP: some(1, 2, 3, 9)},
            [piece("a", HTTP, some(1)), piece("b", HTTP, some(2, 3))],
            SlicePlan(update={"b": some(2, 3, 9)}),
            id="the fullest that has room",
        ),
        pytest.param(
            {HTTP: some(1, 3, 9)},
            [piece("a", HTTP, some(1, 2)), piece("b", HTTP, some(3))],
            SlicePlan(update={"a": some(1, 9)}),
            id="one that is written anyway comes first",
        ),
    ],
)
def test_plan(wanted: Backends, existing: list[BackendSlice], expected: SlicePlan) -> None:
    assert plan_slices(wanted, existing, ["IPv4"]) == expected


def test_a_family_without_endpoints_has_a_placeholder() -> None:
    plan = plan_slices({HTTP: some(1)}, [], ["IPv4", "IPv6"])

    assert plan.create == (NewSlice(HTTP, some(1)), NewSlice(SliceGroup("IPv6", ()), ()))


def carry_out(plan: SlicePlan, existing: list[BackendSlice]) -> list[BackendSlice]:
    kept = [
        msgspec.structs.replace(entry, raw_endpoints=plan.update.get(entry.metadata.name, entry.endpoints))
        for entry in existing
        if entry.metadata.name not in plan.delete
    ]
    used = {entry.metadata.name for entry in existing}
    names = (name for name in map("s{}".format, range(10_000)) if name not in used)
    return [*kept, *(piece(next(names), new.group, new.endpoints) for new in plan.create)]


SETS = st.sets(st.integers(0, 320), max_size=320)


@given(steps=st.lists(st.tuples(SETS, st.sampled_from([HTTP, OTHER])), min_size=1, max_size=4))
@settings(deadline=None, max_examples=30)
def test_slices_hold_each_endpoint_once_and_no_more_than_they_may(
    steps: list[tuple[set[int], SliceGroup]],
) -> None:
    """By whatever way they got there; planning again writes nothing."""
    existing: list[BackendSlice] = []
    for numbers, group in steps:
        wanted = {group: some(*sorted(numbers))} if numbers else {}
        existing = carry_out(plan_slices(wanted, existing, ["IPv4"]), existing)

        held = [endpoint for entry in existing for endpoint in entry.endpoints]
        assert sorted(held, key=str) == sorted(some(*numbers), key=str)
        assert all(len(entry.endpoints) <= MAX_ENDPOINTS for entry in existing)
        assert plan_slices(wanted, existing, ["IPv4"]) == SlicePlan()


def test_one_pod_of_many_is_one_slice_written() -> None:
    existing = carry_out(plan_slices({HTTP: some(*range(1000))}, [], ["IPv4"]), [])
    plan = plan_slices({HTTP: some(*range(500), *range(501, 1000))}, existing, ["IPv4"])

    assert (len(plan.update), plan.create, plan.delete) == (1, (), ())
