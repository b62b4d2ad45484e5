"""Pods attached by a plugin: what a refusal leads to."""

import json
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from netns_lab.attachment import Attachment, attach
from netns_lab.state import StateDirectory
from nodeplane.errors import NodeplaneError

POD = Attachment("default/web", "lab.default.web", "nl-lab-n1", "nl-lab-pod", "/opt/cni/bin/plugin", "{}")
RESULT = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "cali1"}, {"name": "eth0", "sandbox": "/run/netns/nl-lab-pod"}],
    "ips": [{"address": "10.244.0.2/32", "interface": 1}],
}


class Plugin:
    """Gives these answers in turn, the last one for good."""

    def __init__(self, *answers: tuple[int, object]) -> None:
        self._answers = list(answers)
        self.calls = 0

    def __call__(
        self, command: tuple[str, ...], marks: Mapping[str, str], namespace: str, stdin: bytes, log: Path
    ) -> tuple[int, bytes]:
        self.calls += 1
        code, answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return code, json.dumps(answer).encode()


def refusal(code: int) -> tuple[int, object]:
    return 1, {"cniVersion": "1.1.0", "code": code, "msg": "no", "details": "why"}


def test_try_again_later(tmp_path: Path) -> None:
    plugin = Plugin(refusal(11), refusal(11), (0, RESULT))

    addresses = attach(StateDirectory("lab", tmp_path), [POD], plugin)

    assert (addresses, plugin.calls) == ({"default/web": (IPv4Address("10.244.0.2"),)}, 3)


@pytest.mark.parametrize(
    ("answer", "words"), [(refusal(7), "no: why"), ((1, "what"), "ended without a result")]
)
def test_refusal(answer: tuple[int, object], words: str, tmp_path: Path) -> None:
    plugin = Plugin(answer)

    with pytest.raises(NodeplaneError, match=f"^CNI ADD of pod default/web: {words}; see "):
        attach(StateDirectory("lab", tmp_path), [POD], plugin)
    assert plugin.calls == 1
