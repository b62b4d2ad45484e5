"""JSON decoded into our types, in any thread."""

import subprocess
import sys

import msgspec
import pytest

from nodeplane.json_decoder import decode_json


class Leaf(msgspec.Struct, frozen=True):
    numbers: tuple[int, ...] = ()


class Tree(msgspec.Struct, frozen=True):
    leaf: Leaf = Leaf()
    trees: "tuple[Tree, ...]" = ()


@pytest.mark.parametrize(
    ("data", "kind", "strict", "expected"),
    [
        pytest.param(b"{}", Tree, True, Tree(), id="a struct"),
        pytest.param(
            b'{"trees":[{"leaf":{"numbers":[1]}}]}',
            Tree,
            True,
            Tree(trees=(Tree(Leaf((1,))),)),
            id="in itself",
        ),
        pytest.param(b'[{"numbers":[2]}]', tuple[Leaf, ...], True, (Leaf((2,)),), id="a tuple"),
        pytest.param(b'{"numbers":["3"]}', Leaf, False, Leaf((3,)), id="not strict"),
    ],
)
def test_decode(data: bytes, kind: type[object], strict: bool, expected: object) -> None:
    assert decode_json(data, kind, strict=strict) == expected


def test_strict_and_not_strict_are_kept_apart() -> None:
    data = b'{"numbers":["3"]}'

    assert decode_json(data, Leaf, strict=False) == Leaf((3,))
    with pytest.raises(msgspec.ValidationError, match="Expected `int`, got `str`"):
        decode_json(data, Leaf)


# The types are new each time: what can go wrong goes wrong at the first use.
_FIRST_USE = """
import sys, threading
import msgspec
from nodeplane.json_decoder import decode_json

def meet(kind, found):
    together.wait()
    found.append(decode_json(b'{"f0": {"g1": [1]}}', kind))

sys.setswitchinterval(5e-6)
for _ in range(40):
    leaf = msgspec.defstruct("Leaf", [(f"g{i}", tuple[int, ...], ()) for i in range(20)])
    fields = [(f"f{i}", leaf | None, None) for i in range(30)]
    kind, found, together = msgspec.defstruct("Root", fields), [], threading.Barrier(8)
    threads = [threading.Thread(target=meet, args=(kind, found)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [kind(leaf(g1=(1,)))] * 8
"""


def test_threads_that_meet_a_type_for_the_first_time() -> None:
    """With `msgspec.json.decode` itself the process dies of SIGSEGV, nearly always."""
    done = subprocess.run([sys.executable, "-c", _FIRST_USE], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
