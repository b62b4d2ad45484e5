"""What a Service's annotations say about how to balance it; nobody else's proxy knows them.

    nodeplane.io/lb: random | maglev | source-hash
    nodeplane.io/scheduler: wlc                       in mode ipvs: one of IPVS's schedulers
    nodeplane.io/weights: web-1=3, 10.244.1.7=0        a pod's name or an endpoint's address; 1 if not named

`maglev` leads a client's address and port to the same endpoint on every node, `source-hash` the address
alone. An endpoint of weight 0 gets no new connections.
"""

import re
from collections.abc import Mapping
from typing import Literal, cast, get_args

import msgspec

Method = Literal["random", "maglev", "source-hash"]
Scheduler = Literal["rr", "wrr", "lc", "wlc", "sh", "dh", "sed", "nq", "lblc", "mh"]
"""IPVS's schedulers (ipvsadm(8))."""

METHOD_ANNOTATION = "nodeplane.io/lb"
SCHEDULER_ANNOTATION = "nodeplane.io/scheduler"
WEIGHTS_ANNOTATION = "nodeplane.io/weights"
MAX_WEIGHT = 256

# Few digits: int() of thousands of them is an error.
_WEIGHT = re.compile("[0-9]{1,3}")


class Balancing(msgspec.Struct, frozen=True, gc=False):
    """How endpoints share a port's connections.

    Attributes:
        scheduler: IPVS's, if the Service names one; other modes take no notice.
        weights: By pod name or address, sorted.
        problems: What in the annotations is wrong and left out, in words.
    """

    method: Method = "random"
    weights: tuple[tuple[str, int], ...] = ()
    problems: tuple[str, ...] = ()
    scheduler: Scheduler | None = None


_NAMES = {METHOD_ANNOTATION, SCHEDULER_ANNOTATION, WEIGHTS_ANNOTATION}

DEFAULT = Balancing()


def read_balancing(annotations: Mapping[str, str] | None) -> Balancing:
    """Read a Service's annotations; what is wrong in them is left out."""
    if not annotations or _NAMES.isdisjoint(annotations):
        return DEFAULT
    problems: list[str] = []
    method = _read_word(annotations, METHOD_ANNOTATION, get_args(Method), problems)
    scheduler = _read_word(annotations, SCHEDULER_ANNOTATION, get_args(Scheduler), problems)
    weights: dict[str, int] = {}
    for item in filter(None, (part.strip() for part in annotations.get(WEIGHTS_ANNOTATION, "").split(","))):
        name, _, number = (part.strip() for part in item.partition("="))
        if not name or not _WEIGHT.fullmatch(number) or int(number) > MAX_WEIGHT:
            problems.append(
                f"{WEIGHTS_ANNOTATION}: expected NAME=WEIGHT, 0 to {MAX_WEIGHT}, got {item[:40]!r}"
            )
            continue
        weights[name] = int(number)
    return Balancing(
        cast("Method", method or "random"),
        tuple(sorted(weights.items())),
        tuple(problems),
        cast("Scheduler | None", scheduler),
    )


def _read_word(
    annotations: Mapping[str, str], name: str, words: tuple[str, ...], problems: list[str]
) -> str | None:
    """Return what an annotation says that is one of some words; None if it is not there, or none of them."""
    if name not in annotations:
        return None
    word = annotations[name].strip()
    if word in words:
        return word
    problems.append(f"{name}: expected {' or '.join(words)}, got {word[:40]!r}")
    return None
