"""What an administrator reads, and what a program does."""

from fractions import Fraction
from ipaddress import ip_address

import msgspec
import pytest

from kubeproxy.trace.packet import Packet
from kubeproxy.trace.report import describe_trace
from kubeproxy.trace.result import Outcome, OutcomeKind, Step, Trace

CLIENT = ip_address("10.1.1.2")
ENDPOINT = Outcome("endpoint", Fraction(1), ip_address("10.244.0.1"), 8080, CLIENT)
STEP = Step("services", 1, 1, "an address and port", ("frontends[…] = 0:1",), ("goto kinds",), Fraction(1))
TRACE = Trace(Packet(CLIENT, "tcp", ip_address("10.96.0.1"), 80, link="eth0"), (STEP,), (ENDPOINT,))


@pytest.mark.parametrize(
    ("outcome", "row"),
    [
        pytest.param(
            ENDPOINT,
            {"outcome": "10.244.0.1:8080", "chance": "1", "source_seen": "10.1.1.2", "remembered": ""},
            id="endpoint",
        ),
        pytest.param(
            msgspec.structs.replace(
                ENDPOINT, source=None, is_masqueraded=True, is_hairpin=True, remembered_s=60.0
            ),
            {
                "outcome": "10.244.0.1:8080",
                "chance": "1",
                "source_seen": "not known (the client reaches itself, masqueraded)",
                "remembered": "60 s",
            },
            id="all that there is to say",
        ),
        pytest.param(
            Outcome("drop", Fraction(1, 3), reason="policy Local"),
            {"outcome": "dropped (policy Local)", "chance": "1/3", "source_seen": "", "remembered": ""},
            id="drop",
        ),
    ],
)
def test_outcome_in_words(outcome: Outcome, row: dict[str, str]) -> None:
    """One line for each outcome."""
    report = describe_trace(msgspec.structs.replace(TRACE, outcomes=(outcome,)), "table")

    assert report["outcomes"] == [row]


@pytest.mark.parametrize("kind", OutcomeKind.__args__)  # type: ignore[attr-defined]
def test_every_outcome_has_words(kind: OutcomeKind) -> None:
    outcome = Outcome(kind, Fraction(1), ip_address("10.244.0.1") if kind == "endpoint" else None, 80)
    for output in ("table", "json"):
        assert describe_trace(msgspec.structs.replace(TRACE, outcomes=(outcome,)), output)["outcomes"]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        pytest.param((), "", id="nothing"),
        pytest.param(("a", "b", "c"), "a; b; c", id="few"),
        pytest.param(("a", "b", "c", "d"), "a; b; … 2 more", id="many"),
        pytest.param(
            tuple(f"slots[0:1 . 0…3 by chance] = 10.0.0.{end} . 80 (1/4)" for end in range(4)),
            "slots[0:1 . 0…3 by chance]: 10.0.0.0 . 80 (1/4); … 3 more",
            id="many in one place",
        ),
    ],
)
def test_long_lists_are_short_in_a_table(found: tuple[str, ...], text: str) -> None:
    """A table has a line for each rule, data has all."""
    trace = msgspec.structs.replace(TRACE, steps=(msgspec.structs.replace(STEP, found=found),))

    assert describe_trace(trace, "table")["steps"][0]["found"] == text
    assert describe_trace(trace, "json")["steps"][0]["found"] == list(found)


def test_many_outcomes() -> None:
    """The first ten, and how many more; data has all."""
    outcomes = tuple(
        Outcome("endpoint", Fraction(1, 30), ip_address(f"10.244.0.{end}"), 80, CLIENT)
        for end in range(1, 31)
    )
    trace = msgspec.structs.replace(TRACE, outcomes=outcomes)
    rows = describe_trace(trace, "table")["outcomes"]

    assert len(rows) == 11
    assert rows[-1] == {"outcome": "… 20 more", "chance": "2/3", "source_seen": "", "remembered": ""}
    assert len(describe_trace(trace, "json")["outcomes"]) == 30


def test_data() -> None:
    """The whole answer."""
    assert describe_trace(TRACE, "json") == {
        "connection": "tcp 10.1.1.2 -> 10.96.0.1:80",
        "comes": "in by eth0",
        "table": "ip nodeplane-kubeproxy",
        "steps": [
            {
                "chain": "services",
                "rule": 1,
                "repeats": 1,
                "reason": "an address and port",
                "found": ["frontends[…] = 0:1"],
                "then": ["goto kinds"],
                "probability": 1.0,
            }
        ],
        "outcomes": [
            {
                "kind": "endpoint",
                "endpoint": "10.244.0.1:8080",
                "probability": 1.0,
                "source": "10.1.1.2",
                "masqueraded": False,
                "hairpin": False,
                "remembered_s": 0.0,
                "reason": "",
            }
        ],
    }
