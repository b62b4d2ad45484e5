"""What host and guest say to one another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netns_lab.vm.frames import (
    STDERR,
    STDOUT,
    FrameDecoder,
    Request,
    decode_request,
    encode_frame,
    encode_request,
)

# execve(2): a string ends with a zero byte, so it holds none.
STRINGS = st.lists(st.binary(max_size=20).map(lambda each: each.replace(b"\0", b"")), max_size=4)


@given(st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=300))), st.integers(1, 50))
def test_frames_survive_any_cut(frames: list[tuple[bytes, bytes]], step: int) -> None:
    stream = b"".join(encode_frame(*frame) for frame in frames)
    decoder = FrameDecoder()

    pieces = (stream[start : start + step] for start in range(0, len(stream), step))
    assert [frame for piece in pieces for frame in decoder.feed(piece)] == frames


@given(STRINGS, STRINGS, STRINGS, st.none() | st.tuples(st.integers(0, 65535), st.integers(0, 65535)))
def test_a_request_survives(
    words: list[bytes], environment: list[bytes], modules: list[bytes], size: tuple[int, int] | None
) -> None:
    request = Request(b"/tmp", words, environment, modules, size)

    assert vars(decode_request(encode_request(request))) == vars(request)


def test_garbage_is_no_request() -> None:
    with pytest.raises(ValueError, match="unpack"):
        decode_request(b"=/tmp")
