"""bird's control protocol: replies out of bytes, whole or in pieces."""

import asyncio
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.bgp.control import BirdError, BirdFrozenError, Control, Reply, ReplyReader, ask_once
from nodeplane.errors import ProtocolError

TABLE = b"2002-Name       Proto\n1002-kernel4    Kernel\n1006-  Channel ipv4\n       State: UP\n \n0000 \n"
TABLE_REPLY = Reply(
    (
        (2002, "Name       Proto"),
        (1002, "kernel4    Kernel"),
        (1006, "  Channel ipv4"),
        (1006, "      State: UP"),
        (1006, ""),
        (0, ""),
    )
)
REFUSAL = b"0002-Reading configuration from /x\n8002 /x:3:1 syntax error\n"


@pytest.mark.parametrize(
    ("data", "replies"),
    [
        pytest.param(b"0001 BIRD 2.0.12 ready.\n", [Reply(((1, "BIRD 2.0.12 ready."),))], id="greeting"),
        pytest.param(TABLE, [TABLE_REPLY], id="table"),
        pytest.param(TABLE + TABLE, [TABLE_REPLY, TABLE_REPLY], id="two"),
        pytest.param(TABLE[:-3], [], id="not all yet"),
        pytest.param(b"+an event\n" + TABLE, [TABLE_REPLY], id="events are left out"),
    ],
)
def test_replies(data: bytes, replies: list[Reply]) -> None:
    """A reply ends with the line whose code is followed by a space."""
    assert ReplyReader().feed(data) == replies


def test_refusal() -> None:
    """Codes from 8000 on are refusals, with bird's words."""
    [reply] = ReplyReader().feed(REFUSAL)
    assert (reply.is_error, reply.code, reply.message) == (True, 8002, "/x:3:1 syntax error")


@given(st.lists(st.integers(1, len(TABLE) * 2), max_size=6))
def test_pieces_do_not_matter(cuts: list[int]) -> None:
    """However the bytes arrive, the replies are the same."""
    data, reader = TABLE + REFUSAL, ReplyReader()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    found = [reply for first, last in pairwise(edges) for reply in reader.feed(data[first:last])]
    assert found == ReplyReader().feed(data)


@given(st.binary(max_size=200))
def test_garbage(data: bytes) -> None:
    """What is not bird's is told, or gives replies; nothing else."""
    with suppress(ProtocolError):
        ReplyReader().feed(data)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        pytest.param(b"", BirdError, id="ends at once"),
        pytest.param(b"SSH-2.0\n", BirdError, id="somebody else"),
        pytest.param(None, BirdFrozenError, id="silent"),
    ],
)
def test_bad_peers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes | None, error: type[Exception]
) -> None:
    """A peer that is no bird is an error, not a wait without end."""
    monkeypatch.setattr("cni.bgp.control.ANSWER_LIMIT_S", 0.2)
    path = tmp_path / "control"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if said is None:
            await reader.read()
        else:
            writer.write(said)
        writer.close()

    async def main() -> None:
        async with await asyncio.start_unix_server(answer, path):
            with pytest.raises(error):
                await Control.open(path)
            with pytest.raises(error):
                await asyncio.to_thread(ask_once, path, ("show status",))

    asyncio.run(main())


def test_nobody(tmp_path: Path) -> None:
    """Nobody at the socket is one line that names it."""
    path = tmp_path / "control"
    expected = f"bird's control socket {path}: No such file or directory"
    with pytest.raises(BirdError, match=f"^{expected}$"):
        ask_once(path, ())
    with pytest.raises(BirdError, match=f"^{expected}$"):
        asyncio.run(Control.open(path))


def test_answers_come_in_order(tmp_path: Path) -> None:
    """Several may ask at once; each gets its own answer, and an end is told to all who wait."""
    path = tmp_path / "control"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"0001 BIRD ready.\n")
        while (line := await reader.readline()) not in {b"", b"end\n"}:
            writer.write(b"0013 " + line)
        writer.close()

    async def main() -> tuple[list[str], list[BaseException | Reply]]:
        async with await asyncio.start_unix_server(answer, path):
            control = await Control.open(path)
            replies = await asyncio.gather(*(control.ask(f"show {number}") for number in range(5)))
            ended = await asyncio.gather(control.ask("end"), control.ask("more"), return_exceptions=True)
            await control.closed
            with pytest.raises(BirdError, match="bird has ended"):
                await control.ask("again")
            return [reply.message for reply in replies], [*ended]

    messages, ended = asyncio.run(main())
    assert messages == [f"show {number}" for number in range(5)]
    assert [type(item) for item in ended] == [BirdError, BirdError]
