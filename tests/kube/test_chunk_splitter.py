"""The framing of a chunked body, in whatever pieces the network brings it."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.errors import ProtocolError
from nodeplane.kube.chunk_splitter import ChunkSplitter

END = b"0\r\n\r\n"


def split(*pieces: bytes) -> tuple[bytes, bytes | None]:
    """Feed pieces until the end of the body; what comes later belongs to the end."""
    chunks = ChunkSplitter()
    body = b""
    for piece in pieces:
        if chunks.end is None:
            body += chunks.feed(piece)
        else:
            chunks.end += piece
    return body, chunks.end


@pytest.mark.parametrize(
    ("pieces", "body", "end"),
    [
        pytest.param((), b"", None, id="nothing"),
        pytest.param((END,), b"", END, id="empty body"),
        pytest.param((b"3\r\none\r\n",), b"one", None, id="a chunk, more to come"),
        pytest.param((b"3\r\none\r\n3\r\ntwo\r\n", END), b"onetwo", END, id="chunks and the end"),
        pytest.param((b"3\r\non",), b"on", None, id="a part of a chunk is not held back"),
        pytest.param((b"3\r\none", b"\r", b"\n", b"3", b"\r\ntwo\r\n0\r\n\r\n"), b"onetwo", END, id="cut up"),
        pytest.param((b"00A ;name=value\r\n0123456789\r\n",), b"0123456789", None, id="extension"),
        pytest.param((b"a\r\n\r\n0\r\n\r\n12\n\r\n0\r\n\r\n",), b"\r\n0\r\n\r\n12\n", END, id="body like it"),
        pytest.param((b"0\r\nDigest: x\r\n\r\n",), b"", b"0\r\nDigest: x\r\n\r\n", id="trailer"),
        pytest.param((b"0\r\n", b"\r\n"), b"", END, id="end in two pieces"),
    ],
)
def test_split(pieces: tuple[bytes, ...], body: bytes, end: bytes | None) -> None:
    assert split(*pieces) == (body, end)


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        pytest.param(b'{"type":"ADDED"}\r\n', "expected the size of a chunk", id="no framing"),
        pytest.param(b"\r\n", "expected the size of a chunk", id="no size"),
        pytest.param(b"-3\r\none\r\n", "expected the size of a chunk", id="negative"),
        pytest.param(b"0x3\r\none\r\n", "expected the size of a chunk", id="prefix"),
        pytest.param(b"1_0\r\n", "expected the size of a chunk", id="underscore"),
        pytest.param(b"f" * 2000, "expected the size of a chunk", id="endless size"),
        pytest.param(b"3\r\nonetwo\r\n", "expected the end of a chunk", id="longer than it said"),
    ],
)
def test_no_chunks(piece: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        split(piece)


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40)), st.lists(st.integers(0, 400)))
def test_any_body_in_any_pieces(chunks: list[bytes], cuts: list[int]) -> None:
    """What was framed comes out, wherever the network cuts it."""
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + END
    places = [0, *sorted(min(cut, len(framed)) for cut in cuts), len(framed)]
    pieces = [framed[start:end] for start, end in pairwise(places)]

    assert split(*pieces) == (b"".join(chunks), END)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40)))
def test_garbage(pieces: list[bytes]) -> None:
    """Whatever comes is taken or refused, and nothing else happens."""
    with suppress(ProtocolError):
        split(*pieces)
