"""What stays when there is no more room, what goes when something changes, and what a reply's end says."""

from hypothesis import given, settings
from hypothesis import strategies as st

from coredns_lite.kept import Kept, KeptReplies, Label, label_of, token


def kept(limit_bytes: int = 4000) -> Kept[int]:
    """Keep numbers, each of 100 bytes, about x if even."""
    return Kept(limit_bytes, lambda number: (token("y" if number % 2 else "x"), 100))


def test_what_nobody_asks_for_goes_first() -> None:
    """An entry that is asked for outlives any number of others; those come and go."""
    numbers = kept()
    numbers.put(b"wanted", 0)
    for number in range(100):
        numbers.put(b"%d" % number, number)
        assert numbers.find(b"wanted") == 0
        assert numbers.find(b"%d" % number) == number

    assert numbers.find(b"3") is None
    assert len(numbers) <= 4000 // 350


def test_room_is_by_bytes() -> None:
    """A large value pushes out as much as it takes; one that is larger than all room is there alone."""
    sizes: Kept[int] = Kept(10_000, lambda size_bytes: (0, size_bytes))
    for number in range(10):
        sizes.put(b"%d" % number, 100)
    sizes.put(b"large", 20_000)
    assert sizes.find(b"large") == 20_000
    sizes.put(b"next", 100)
    sizes.put(b"larger", 30_000)

    assert sizes.find(b"0") is None
    assert sizes.find(b"larger") == 30_000


@given(st.lists(st.tuples(st.sampled_from("pfdg"), st.integers(0, 30)), max_size=80))
@settings(deadline=None)
def test_nothing_is_found_that_was_forgotten(steps: list[tuple[str, int]]) -> None:
    """Whatever was put, aged, found and dropped before: what a change touches is gone, old or young."""
    numbers, there = kept(3000), {}
    for step, number in steps:
        key = b"%d" % number
        if step == "p":
            numbers.put(key, number)
            there[key] = number
        elif step == "f":
            assert numbers.find(key) in {None, there.get(key)}
        elif step == "d":
            numbers.drop(key)
            there.pop(key, None)
        else:
            numbers.forget([token("y" if number % 2 else "x")])
            there = {each: value for each, value in there.items() if value % 2 != number % 2}
        assert {*numbers.young.values()} <= {*there.values()}


def test_several_take_turns() -> None:
    """Old or young, the next one comes; a change takes all of them."""
    replies = KeptReplies(4000)
    orders = [bytes((number,)) * 10 + Label(token("x"), 7, 40).pack() for number in range(3)]
    replies.put(b"q", orders)
    assert [replies.find(b"q") for _ in range(4)] == [*orders, orders[0]]
    for number in range(3):
        replies.put(b"%d" % number, [orders[0], orders[1]])
    assert b"q" not in replies._turning.young
    assert [replies.find(b"q") for _ in range(2)] == orders[1:]

    replies.forget([token("x")])
    assert (len(replies), replies.find(b"q")) == (0, None)


def test_labels() -> None:
    label = label_of(b"reply" + Label(token(b"about"), 70_000, 65_535).pack())

    assert (label.about, label.kind, label.query_bytes) == (token(b"about"), 70_000, 65_535)
