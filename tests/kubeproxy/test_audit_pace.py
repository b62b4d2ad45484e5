"""Whoever damages the tables over and over is answered more and more slowly, and named."""

import pytest

from kubeproxy.audit_pace import AuditPace
from nodeplane.datapath.nft.monitor import Writer

NFT, RIVAL, INTERPRETER = Writer(1, "nft"), Writer(2, "kubeproxy"), Writer(3, "python3")


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        pytest.param([], 1, id="nothing yet"),
        pytest.param([(0, True)], 1, id="once"),
        pytest.param([(0, True), (1, True)], 2, id="again"),
        pytest.param([(0, True), (1, True), (3, True), (7, True), (15, True)], 16, id="on and on"),
        pytest.param([(0, True), *((at, True) for at in (1, 3, 7, 15, 31, 61, 91))], 30, id="no longer than"),
        pytest.param([(0, True), (1, True), (3, False)], 1, id="nothing wrong"),
        pytest.param([(0, True), (1, True), (100, True)], 1, id="long ago"),
    ],
)
def test_pause(findings: list[tuple[float, bool]], expected: float) -> None:
    """The pause doubles with each finding in a row, up to 30 s."""
    pace = AuditPace()
    for now_s, found in findings:
        pace.audited(now_s, found=found)

    assert pace.pause_s == expected


@pytest.mark.parametrize(
    ("writers", "expected"),
    [
        pytest.param([NFT] * 5, [False] * 5, id="somebody at a shell"),
        pytest.param([None] * 4, [False] * 4, id="nobody knows"),
        pytest.param([RIVAL] * 2, [False] * 2, id="a restart"),
        pytest.param([RIVAL] * 5, [False, False, True, False, False], id="another kubeproxy, told once"),
        pytest.param([INTERPRETER] * 3, [False, False, True], id="its interpreter"),
    ],
)
def test_rival(writers: list[Writer | None], expected: list[bool]) -> None:
    """Only who comes again is called a rival."""
    pace = AuditPace()
    seen = []
    for second, writer in enumerate(writers):
        pace.audited(second, found=True)
        seen.append(pace.is_rival(writer))

    assert seen == expected
