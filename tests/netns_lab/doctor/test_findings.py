"""What the doctor says of a machine."""

from collections.abc import Mapping

import msgspec
import pytest

from netns_lab.doctor.findings import Facts, Finding, is_fit, judge
from netns_lab.doctor.needs import FEATURES, MODULES, NEEDS

WHOLE = Facts(
    "",
    {need.tool.program for need in NEEDS},
    {feature.name for feature in FEATURES},
    set(MODULES),
    {},
)


def without(group: str, name: str) -> Facts:
    return msgspec.structs.replace(WHOLE, **{group: getattr(WHOLE, group) - {name}})


def with_labs(labs: Mapping[str, str | None]) -> Facts:
    return msgspec.structs.replace(WHOLE, labs=labs)


def test_nothing_to_say() -> None:
    findings = [*judge(WHOLE)]

    assert {finding.state for finding in findings} == {"there"}
    assert not [finding for finding in findings if finding.advice]
    assert is_fit(findings)


@pytest.mark.parametrize(
    ("facts", "expected", "fit"),
    [
        pytest.param(
            without("programs", "nft"),
            Finding("program", "nft", "missing", "apt-get install nftables"),
            False,
            id="a program",
        ),
        pytest.param(
            msgspec.structs.replace(WHOLE, neighbours=1024),
            Finding(
                "kernel",
                "neighbour table",
                "missing, optional",
                "1024 of 22000 entries: sysctl -w net.ipv4.neigh.default.gc_thresh3=65536 "
                "(for labs of 100 nodes)",
            ),
            True,
            id="a table for small labs",
        ),
        pytest.param(
            without("programs", "busybox"),
            Finding("program", "busybox", "missing, optional", "apt-get install busybox-static (for vm)"),
            True,
            id="a program for one verb",
        ),
        pytest.param(
            without("modules", "uvicorn"),
            Finding("module", "uvicorn", "missing", "pip install 'nodeplane[lab]'"),
            False,
            id="a module",
        ),
        pytest.param(
            without("features", "veth"),
            Finding(
                "kernel", "veth", "missing", "expected of the kernel; `netns-lab vm` starts one that has it"
            ),
            False,
            id="the kernel",
        ),
        pytest.param(
            without("features", "netem"),
            Finding(
                "kernel",
                "netem",
                "missing, optional",
                "expected of the kernel; `netns-lab vm` starts one that has it (for delays of links)",
            ),
            True,
            id="the kernel, for some links",
        ),
        pytest.param(
            msgspec.structs.replace(WHOLE, lacks="must run as root", features=set()),
            Finding("right", "network namespaces", "missing", "must run as root"),
            False,
            id="rights: nothing else is tried",
        ),
        pytest.param(
            with_labs({"a": None}),
            Finding("lab", "a", "left behind", "its files are gone: netns-lab down a"),
            False,
            id="a lab without files",
        ),
        pytest.param(
            with_labs({"a": "incomplete"}),
            Finding(
                "lab",
                "a",
                "left behind",
                "it is incomplete: `netns-lab up` with its file repairs it, netns-lab down a removes it",
            ),
            False,
            id="half a lab",
        ),
        pytest.param(with_labs({"a": "up"}), Finding("lab", "a", "there", "up"), True, id="a lab"),
        pytest.param(
            with_labs({"a": "busy"}),
            Finding("lab", "a", "there", "busy"),
            True,
            id="a lab that is being made",
        ),
    ],
)
def test_judge(facts: Facts, expected: Finding, fit: bool) -> None:
    findings = [*judge(facts)]

    assert [each for each in findings if each.advice] == [expected]
    assert is_fit(findings) == fit


def test_what_stops_a_lab_comes_first() -> None:
    facts = msgspec.structs.replace(WHOLE, programs={"ip"}, labs={"a": None, "b": "up"})

    states = [finding.state for finding in judge(facts)]

    assert states == sorted(states, key=["missing", "left behind", "missing, optional", "there"].index)
