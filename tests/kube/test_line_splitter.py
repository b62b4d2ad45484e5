"""Lines out of bytes, whatever pieces they come in."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeplane.errors import ProtocolError
from nodeplane.kube.line_splitter import LineSplitter


@pytest.mark.parametrize(
    ("chunks", "lines", "is_inside"),
    [
        pytest.param([], [], False, id="nothing"),
        pytest.param([b"a\n"], [b"a"], False, id="one"),
        pytest.param([b"a\nb\n"], [b"a", b"b"], False, id="two at once"),
        pytest.param([b"a", b"b", b"c\n"], [b"abc"], False, id="one in three"),
        pytest.param([b"a\nb", b"c\nd"], [b"a", b"bc"], True, id="half a line left"),
        pytest.param([b"a", b"\n"], [b"a"], False, id="the end alone"),
        pytest.param([b"\n\n \r\n"], [], False, id="empty lines"),
    ],
)
def test_lines(chunks: list[bytes], lines: list[bytes], is_inside: bool) -> None:
    """A line counts when its end is there."""
    splitter = LineSplitter()
    found = [line for chunk in chunks for line in splitter.feed(chunk)]

    assert (found, splitter.is_inside_line) == (lines, is_inside)


@given(st.lists(st.binary(max_size=5)), st.lists(st.integers(0, 30)))
def test_pieces_do_not_matter(lines: list[bytes], cuts: list[int]) -> None:
    """The same bytes are the same lines, wherever they were cut."""
    text = b"\n".join(lines)
    whole, cut = LineSplitter(), LineSplitter()
    edges = sorted({0, len(text), *(each for each in cuts if each <= len(text))})
    pieces = [text[start:end] for start, end in pairwise(edges)]

    assert [line for piece in pieces for line in cut.feed(piece)] == whole.feed(text)
    assert cut.is_inside_line == whole.is_inside_line


def test_a_line_without_end() -> None:
    """A peer that never ends a line does not fill our memory."""
    splitter = LineSplitter(max_line_bytes=10)
    splitter.feed(b"12345")

    with pytest.raises(ProtocolError, match="at most 10 bytes"):
        splitter.feed(b"678901")
