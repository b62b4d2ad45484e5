"""Which version of an object is in force, whatever the way there."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.kube.manifest_set import ManifestSet
from nodeplane.kube.objects import Object, ObjectKey
from nodeplane.kube.source import Batch, Change
from tests.kube.changes import apply
from tests.kube.objects import keyed, service

WEB, WEB_81, DB = service("web"), service("web", 81), service("db")

Files = Mapping[str, dict[ObjectKey, Object]]


@pytest.mark.parametrize(
    ("steps", "last"),
    [
        pytest.param(
            [{"a": keyed(WEB, DB)}], (Change(WEB.key, None, WEB), Change(DB.key, None, DB)), id="new"
        ),
        pytest.param(
            [{"a": keyed(WEB)}, {"a": keyed(WEB_81)}], (Change(WEB.key, WEB, WEB_81),), id="changed"
        ),
        pytest.param([{"a": keyed(WEB)}, {"a": keyed(service("web"))}], (), id="written again"),
        pytest.param([{"a": keyed(WEB, DB)}, {"a": keyed(DB)}], (Change(WEB.key, WEB, None),), id="left out"),
        pytest.param([{"a": keyed(WEB)}, {"a": {}}], (Change(WEB.key, WEB, None),), id="file gone"),
        pytest.param([{"a": {}}], (), id="file never there"),
        pytest.param([{"b": keyed(WEB)}, {"a": keyed(WEB), "b": {}}], (), id="moved at once, to the front"),
        pytest.param([{"a": keyed(WEB)}, {"a": {}, "b": keyed(WEB)}], (), id="moved at once, to the back"),
        pytest.param(
            [{"b": keyed(WEB)}, {"a": keyed(WEB_81)}, {"b": {}}],
            (),
            id="moved in two steps, and changed",
        ),
        pytest.param(
            [{"b": keyed(WEB)}, {"a": keyed(WEB_81)}],
            (Change(WEB.key, WEB, WEB_81),),
            id="the first by name, not who had it first",
        ),
        pytest.param([{"a": keyed(WEB)}, {"b": keyed(WEB_81)}], (), id="a later one has no say"),
        pytest.param(
            [{"b": keyed(WEB)}, {"a": keyed(WEB_81)}, {"b": keyed(service("web", 82))}],
            (),
            id="nor when it changes",
        ),
        pytest.param(
            [{"b": keyed(WEB)}, {"a": keyed(WEB_81)}, {"a": {}}],
            (Change(WEB.key, WEB_81, WEB),),
            id="the first gives up",
        ),
        pytest.param(
            [{"a": keyed(WEB, DB)}, {"b": keyed(WEB_81)}, {"a": keyed(DB), "b": {}}],
            (Change(WEB.key, WEB, None),),
            id="both give up",
        ),
    ],
)
def test_last_batch(steps: list[Files], last: Batch) -> None:
    """A step gives what it changes, each object once."""
    known = ManifestSet()
    *_, batch = [known.take(step) for step in steps]

    assert batch == last


@pytest.mark.parametrize(
    ("steps", "asked", "rivals"),
    [
        pytest.param([{"a": keyed(WEB), "b": keyed(DB)}], ["a", "b"], [], id="none"),
        pytest.param(
            [{"a": keyed(WEB), "b": keyed(WEB)}], ["a", "b"], [(WEB.key, "a", "b")], id="the same twice"
        ),
        pytest.param([{"b": keyed(WEB)}, {"a": keyed(WEB_81)}], ["a"], [(WEB.key, "a", "b")], id="newcomer"),
        pytest.param(
            [{"c": keyed(WEB)}, {"a": keyed(WEB), "b": keyed(WEB)}],
            ["c"],
            [(WEB.key, "a", "b"), (WEB.key, "a", "c")],
            id="three",
        ),
        pytest.param([{"a": keyed(WEB), "b": keyed(WEB)}], ["x"], [], id="of other files"),
    ],
)
def test_rivals(steps: list[Files], asked: list[str], rivals: list[tuple[ObjectKey, str, str]]) -> None:
    """An object that two files have is told of, with the file in force first."""
    known = ManifestSet()
    for step in steps:
        known.take(step)

    assert [*known.rivals(asked)] == rivals


@pytest.mark.parametrize(
    ("directories", "names"),
    [
        pytest.param(set(), set(), id="none"),
        pytest.param({"a"}, {"a/x", "a/b/x"}, id="at any depth"),
        pytest.param({"a/b", "c"}, {"a/b/x", "c"}, id="several, one was a file"),
        pytest.param({"a/", "b"}, set(), id="others"),
    ],
)
def test_below(directories: set[str], names: set[str]) -> None:
    """Files are told by the directories on their way."""
    known = ManifestSet()
    known.take({name: keyed(WEB) for name in ("a/x", "a/b/x", "ab/x", "c", "x")})

    assert known.below(directories) == names


CONTENTS = st.lists(st.builds(service, st.sampled_from("wxyz"), st.sampled_from([80, 81])), max_size=3).map(
    lambda items: keyed(*items)
)
STEPS = st.lists(st.dictionaries(st.sampled_from("abc"), CONTENTS, max_size=3), max_size=8)


@given(STEPS)
@settings(deadline=None)
def test_path_does_not_matter(steps: list[Files]) -> None:
    """The state is that of a fresh read of the files, also where two of them differ."""
    walked, state, files = ManifestSet(), dict[ObjectKey, Object](), dict[str, dict[ObjectKey, Object]]()
    for step in steps:
        apply(state, walked.take(step))
        files.update(step)
    assert walked.files == {name for name, items in files.items() if items}
    fresh = dict[ObjectKey, Object]()
    apply(fresh, ManifestSet().take(files))
    assert state == fresh
