"""Annotations: what is right is taken, what is wrong is logged and left out."""

import pytest
from msgspec.structs import replace

from kubeproxy.desired.annotations import METHOD_ANNOTATION, WEIGHTS_ANNOTATION, Balancing, read_balancing


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        pytest.param(None, Balancing(), id="none"),
        pytest.param({"other": "x"}, Balancing(), id="other"),
        pytest.param({METHOD_ANNOTATION: "maglev"}, Balancing("maglev"), id="maglev"),
        pytest.param({METHOD_ANNOTATION: " source-hash "}, Balancing("source-hash"), id="spaces"),
        pytest.param({METHOD_ANNOTATION: "random"}, Balancing(), id="random"),
        pytest.param(
            {WEIGHTS_ANNOTATION: "web-1=3, 10.244.1.7=0,"},
            Balancing(weights=(("10.244.1.7", 0), ("web-1", 3))),
            id="weights, sorted",
        ),
        pytest.param({WEIGHTS_ANNOTATION: "a = 256"}, Balancing(weights=(("a", 256),)), id="largest weight"),
        pytest.param(
            {WEIGHTS_ANNOTATION: "a=1,a=2"}, Balancing(weights=(("a", 2),)), id="the last one counts"
        ),
        pytest.param({WEIGHTS_ANNOTATION: ""}, Balancing(), id="empty"),
    ],
)
def test_read(annotations: dict[str, str] | None, expected: Balancing) -> None:
    """Right annotations are taken without a word."""
    assert read_balancing(annotations) == expected


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        pytest.param({METHOD_ANNOTATION: "rr"}, Balancing(), id="unknown method"),
        pytest.param({METHOD_ANNOTATION: ""}, Balancing(), id="empty method"),
        *(
            pytest.param({WEIGHTS_ANNOTATION: f"{wrong}, b=2"}, Balancing(weights=(("b", 2),)), id=wrong[:10])
            for wrong in ("a", "=1", "a=", "a=-1", "a=257", "a=1.5", "a=²", "a=x", "a=1=2", "a=" + "9" * 5000)
        ),
    ],
)
def test_wrong(annotations: dict[str, str], expected: Balancing) -> None:
    """Each wrong part is one problem that says what is expected; the rest counts."""
    found = read_balancing(annotations)

    assert replace(found, problems=()) == expected
    assert [problem.partition(": expected ")[0] for problem in found.problems] == [*annotations]
    assert len(found.problems[0]) < 150
