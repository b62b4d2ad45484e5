"""The frame between shim and agent: exact bytes, round trips, and nothing but `ProtocolError` for garbage."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cni.calls.protocol import (
    CALL_HEAD_BYTES,
    CONFIG_BYTES,
    DECLINED,
    ENVIRONMENT_BYTES,
    STDERR_BYTES,
    STDOUT_BYTES,
    CallHead,
    decode_answer,
    decode_call,
    decode_call_head,
    render_answer,
    render_call,
)
from nodeplane.errors import ProtocolError

CALL = b"NPC1\0\0\0\x09\0\0\0\x02A=1\0BC=\xff\0{}"
ENVIRON = {"A": "1", "BC": "\udcff"}


def decode(data: bytes) -> tuple[dict[str, str], bytes]:
    return decode_call(decode_call_head(data[:CALL_HEAD_BYTES]), data[CALL_HEAD_BYTES:])


def test_bytes_of_a_call() -> None:
    assert render_call(ENVIRON, b"{}") == CALL
    assert decode_call_head(CALL[:CALL_HEAD_BYTES]) == CallHead(9, 2)
    assert decode(CALL) == (ENVIRON, b"{}")


def test_bytes_of_an_answer() -> None:
    assert render_answer(1, b"{}\n", b"oh") == b"\0\0\0\x01\0\0\0\x03{}\n\0\0\0\x02oh"
    assert render_answer(DECLINED, b"") == b"\0\0\0\xff\0\0\0\0\0\0\0\0"


NAME = st.text(st.characters(codec="utf-8", exclude_characters="=\0"), min_size=1)
VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@settings(deadline=None)
@given(st.dictionaries(NAME, VALUE), st.binary())
def test_a_call_comes_back(environ: dict[str, str], config: bytes) -> None:
    assert decode(render_call(environ, config)) == (environ, config)


@settings(deadline=None)
@given(st.integers(0, DECLINED), st.binary(), st.binary())
def test_an_answer_comes_back(verdict: int, stdout: bytes, stderr: bytes) -> None:
    assert decode_answer(render_answer(verdict, stdout, stderr)) == (verdict, stdout, stderr)


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b"", id="none, as agents of before"),
        pytest.param(b"\0\0", id="half a size"),
        pytest.param(b"\0\0\0\x02x", id="cut off"),
        pytest.param((STDERR_BYTES + 1).to_bytes(4, "big") + bytes(STDERR_BYTES + 1), id="too large"),
    ],
)
def test_an_answer_holds_without_its_stderr(tail: bytes) -> None:
    assert decode_answer(b"\0\0\0\0\0\0\0\x02{}" + tail) == (0, b"{}", b"")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", "expected a call of at least 12 bytes, got 0", id="nothing"),
        pytest.param(CALL[:11], "expected a call of at least 12 bytes, got 11", id="half a head"),
        pytest.param(
            b"GET / HTTP/1", "expected a call that begins with b'NPC1', got b'GET '", id="another protocol"
        ),
        pytest.param(CALL[:-1], "expected a call with 11 bytes, got 10", id="cut off"),
        pytest.param(CALL + b"x", "expected a call with 11 bytes, got 12", id="too long"),
        pytest.param(
            b"NPC1\0\0\0\x03\0\0\0\0A=1",
            "expected variables that end with a zero byte",
            id="variables without an end",
        ),
        pytest.param(
            b"NPC1" + (ENVIRONMENT_BYTES + 1).to_bytes(4, "big") + bytes(4),
            "expected at most 262144 bytes of variables, got 262145",
            id="too many variables",
        ),
        pytest.param(
            b"NPC1" + bytes(4) + (CONFIG_BYTES + 1).to_bytes(4, "big"),
            "expected at most 1048576 bytes of stdin, got 1048577",
            id="too large a configuration",
        ),
    ],
)
def test_wrong_calls(data: bytes, expected: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(data)

    assert str(caught.value) == expected


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\0\0\0", id="half a head"),
        pytest.param(b"\0\0\0\0\0\0\0\x02x", id="cut off"),
        pytest.param(b"\0\0\1\0\0\0\0\0", id="a verdict that is none"),
        pytest.param(bytes(4) + (STDOUT_BYTES + 1).to_bytes(4, "big"), id="too large"),
    ],
)
def test_wrong_answers(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_answer(data)


@settings(deadline=None)
@given(st.binary(), st.booleans())
def test_garbage_is_a_protocol_error(data: bytes, has_magic: bool) -> None:
    try:
        decode(b"NPC1" * has_magic + data)
        decode_answer(data)
    except ProtocolError:
        return


@pytest.mark.parametrize(
    "block", [b"A\0B=1\0", b"B=1\0B=2\0"], ids=["without a value", "the first of two, as in libc"]
)
def test_entries_of_an_environment(block: bytes) -> None:
    assert decode_call(CallHead(len(block), 0), block) == ({"B": "1"}, b"")
