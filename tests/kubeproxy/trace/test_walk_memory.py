"""Maps that the packet path itself writes."""

import msgspec
import pytest

from tests.kubeproxy.trace.walked import (
    CLIENT,
    DROP,
    FORGET,
    IS_KNOWN,
    MEMORY,
    PREROUTING,
    REMEMBER,
    TO_POD,
    chain,
    number,
    results,
    walk,
)


@pytest.mark.parametrize(
    ("elements", "rules", "expected", "remembered_s"),
    [
        pytest.param({}, [IS_KNOWN + DROP], "10.244.0.1:8080", 0, id="a new client"),
        pytest.param({}, [REMEMBER], "10.244.0.1:8080", 60, id="remembered"),
        pytest.param({}, [REMEMBER, IS_KNOWN + DROP], "drop", 0, id="known at once"),
        pytest.param({CLIENT.packed: number(7)}, [IS_KNOWN + DROP], "drop", 0, id="known"),
        pytest.param(
            {CLIENT.packed: number(7)}, [FORGET, IS_KNOWN + DROP], "10.244.0.1:8080", 0, id="forgotten"
        ),
        pytest.param(
            {CLIENT.packed: number(8)}, [REMEMBER, IS_KNOWN + DROP], "10.244.0.1:8080", 60, id="data stays"
        ),
        pytest.param(
            {b"aaaa": number(1), b"bbbb": number(1)},
            [REMEMBER + DROP],
            "10.244.0.1:8080",
            0,
            id="no more room",
        ),
    ],
)
def test_dynamic_maps(
    elements: dict[bytes, bytes], rules: list[bytes], expected: str, remembered_s: float
) -> None:
    """What a packet's rules write is there for its later ones, and nowhere else."""
    memory = msgspec.structs.replace(MEMORY, elements=elements)
    told = walk(chain(*rules, TO_POD, hook=PREROUTING), {"memory": memory})

    assert results(told) == {expected: 1}
    assert told.outcomes[0].remembered_s == remembered_s
    assert memory.elements == elements
