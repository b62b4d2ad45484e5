"""Which entries of which directories decide where a path leads."""

from pathlib import Path

import pytest

from nodeplane.kube.path_lookup import lookups


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        pytest.param("file", [("", "file", None, False)], id="file"),
        pytest.param("none/x", [("", "none", None, False)], id="nothing there"),
        pytest.param("file/x", [("", "file", None, False)], id="below a file"),
        pytest.param("./a//b/.", [("", "a", None, True), ("/a", "b", None, True)], id="directories"),
        pytest.param("a/../file", [("", "a", None, True), ("", "file", None, False)], id="up"),
        pytest.param(
            "a/up",
            [
                ("", "a", None, True),
                ("/a", "up", "../..data/w", False),
                ("", "..data", "..1", False),
                ("", "..1", None, True),
                ("/..1", "w", None, False),
            ],
            id="links as in a mounted ConfigMap",
        ),
        pytest.param("loop", [("", "loop", "loop", False)] * 41, id="link to itself"),
    ],
)
def test_lookups(path: str, steps: list[tuple[str, str, str | None, bool]], tmp_path: Path) -> None:
    """Each step names its directory without links."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "..1").mkdir()
    (tmp_path / "..1/w").touch()
    (tmp_path / "file").touch()
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a/up").symlink_to("../..data/w")
    (tmp_path / "loop").symlink_to("loop")

    expected = [(f"{tmp_path}{directory}", *rest) for directory, *rest in steps]

    assert [tuple(step) for step in lookups(str(tmp_path), path)] == expected


def test_an_absolute_link(tmp_path: Path) -> None:
    """It begins at the top."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")

    steps = list(lookups(str(tmp_path), "link"))

    assert steps[1].directory == "/"
    assert steps[-1] == (str(tmp_path), "file", None, False)
