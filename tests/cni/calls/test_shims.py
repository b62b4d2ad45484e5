"""Both shims are made for the plugin's place, and made anew only when their source is newer."""

import os
import shutil
import stat
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest

from cni.calls import shims
from cni.calls.shims import LAUNCHER, SHIM, build, find_compiler, main, render_shim
from nodeplane.errors import SetupError
from tests.cni.shim_programs import HAS_COMPILER, call, write_program


def test_without_a_compiler_there_is_the_python_shim(tmp_path: Path) -> None:
    assert build(tmp_path, Path("/opt/x/plugin"), None) == [tmp_path / SHIM]

    made = tmp_path / SHIM
    assert stat.S_IMODE(made.stat().st_mode) == 0o755
    assert made.read_text().count("/opt/x/plugin") == 2, "once in the code, once in the source"


def test_an_interpreter_of_another_version_runs_the_source(tmp_path: Path) -> None:
    """It could not read the code that the shim brings along, and says the same without."""
    text = render_shim(tmp_path / "gone")
    other = text.replace(repr(MAGIC_NUMBER), repr(b"another")).replace("marshal.loads(", "print(")
    assert other != text

    said = []
    for name, content in (("ours", text), ("other", other)):
        program = write_program(tmp_path / name, content)
        environ = {"CNI_COMMAND": "ADD", "NODEPLANE_CNI_SOCKET": str(tmp_path / "no.sock")}
        said.append(call(program, environ, b'{"cniVersion":"1.0.0"}'))
    assert said[0] == said[1]
    assert said[0].code == 1
    assert b'"code":11' in said[0].stdout


@pytest.mark.parametrize("name", ["plug in", 'a"b', "a\\b", "größe"])
def test_any_path_of_a_plugin(tmp_path: Path, name: str) -> None:
    """It is text of a program, whatever it has in it."""
    (tmp_path / name).write_text("#!/bin/sh\necho here\n")
    (tmp_path / name).chmod(0o755)

    for program in build(tmp_path, tmp_path / name, find_compiler()):
        assert os.popen(str(program)).read() == "here\n"  # noqa: S605 - a path of our own


def test_what_is_newer_than_its_source_is_left(tmp_path: Path) -> None:
    made = build(tmp_path, Path("/plugin"), find_compiler())
    before = [path.stat().st_ino for path in made]

    assert build(tmp_path, Path("/plugin"), find_compiler()) == made
    assert [path.stat().st_ino for path in made] == before

    for path in made:
        os.utime(path, (0, 0))
    build(tmp_path, Path("/plugin"), find_compiler())
    assert all(path.stat().st_mtime > 0 for path in made)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in made)


def test_a_compiler_that_fails_is_told(tmp_path: Path) -> None:
    compiler = shutil.which("false") or "/bin/false"
    with pytest.raises(SetupError) as caught:
        build(tmp_path, Path("/plugin"), compiler)

    assert str(caught.value) == f"{compiler} failed: "
    assert not (tmp_path / LAUNCHER).exists()


def test_the_command_prints_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([str(tmp_path)]) == 0
    names = [LAUNCHER, SHIM] if HAS_COMPILER else [SHIM]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / name) for name in names]

    monkeypatch.setattr(shims, "find_compiler", lambda: "/bin/false")
    (tmp_path / LAUNCHER).unlink(missing_ok=True)
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == "cni.calls.shims: /bin/false failed: \n"
