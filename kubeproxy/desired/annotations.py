"""What a Service's annotations say about how to balance it; nobody else's proxy knows them.

    nodeplane.io/lb: random | maglev | source-hash
    nodeplane.io/weights: web-1=3, 10.244.1.7=0        a pod's name or an endpoint's address; 1 if not named

`maglev` leads a client's address and port to the same endpoint on every node, `source-hash` the address
alone. An endpoint of weight 0 gets no new connections.
"""

import re
from collections.abc import Mapping
from typing import Literal, cast, get_args

import msgspec

Method = Literal["random", "maglev", "source-hash"]

METHOD_ANNOTATION = "nodeplane.io/lb"
WEIGHTS_ANNOTATION = "nodeplane.io/weights"
MAX_WEIGHT = 256

# Few digits: int() of thousands of them is an error.
_WEIGHT = re.compile("[0-9]{1,3}")


class Balancing(msgspec.Struct, frozen=True, gc=False):
    """How endpoints share a port's connections.

    Attributes:
        weights: By pod name or address, sorted.
        problems: What in the annotations is wrong and left out, in words.
    """

    method: Method = "random"
    weights: tuple[tuple[str, int], ...] = ()
    problems: tuple[str, ...] = ()


DEFAULT = Balancing()


def read_balancing(annotations: Mapping[str, str] | None) -> Balancing:
    """Read a Service's annotations; what is wrong in them is left out."""
    if not annotations or not (METHOD_ANNOTATION in annotations or WEIGHTS_ANNOTATION in annotations):
        return DEFAULT
    problems = []
    method = annotations.get(METHOD_ANNOTATION, "random").strip()
    if method not in get_args(Method):
        problems.append(f"{METHOD_ANNOTATION}: expected {' or '.join(get_args(Method))}, got {method[:40]!r}")
        method = "random"
    weights: dict[str, int] = {}
    for item in filter(None, (part.strip() for part in annotations.get(WEIGHTS_ANNOTATION, "").split(","))):
        name, _, number = (part.strip() for part in item.partition("="))
        if not name or not _WEIGHT.fullmatch(number) or int(number) > MAX_WEIGHT:
            problems.append(
                f"{WEIGHTS_ANNOTATION}: expected NAME=WEIGHT, 0 to {MAX_WEIGHT}, got {item[:40]!r}"
            )
            continue
        weights[name] = int(number)
    return Balancing(cast("Method", method), tuple(sorted(weights.items())), tuple(problems))
