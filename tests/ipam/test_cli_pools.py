"""`ipamctl pools`: what it prints, and how it changes them."""

from pathlib import Path

import pytest

from ipam import cli
from ipam.allocator import Allocator
from ipam.datastore import open_datastore
from ipam.errors import ExhaustedError
from tests.ipam.ctl import NOW, Run
from tests.ipam.values import handle, request


def test_pools(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "pools.yaml"
    file.write_text("pools:\n- {name: second, cidr: 10.1.0.0/24}\n- {name: six, cidr: 'fd00::/64'}\n")

    def names() -> list[tuple[str, bool]]:
        return [(row["pool"], row["disabled"]) for row in run.rows("pools", "list")]

    assert [row["pool"] for row in run.rows("pools", "apply", str(file))] == ["second", "six"]
    assert names() == [("default", False), ("second", False), ("six", False)]
    assert [row["disabled"] for row in run.rows("pools", "disable", "six")] == [True]
    assert names()[2] == ("six", True)
    assert [row["disabled"] for row in run.rows("pools", "enable", "six")] == [False]
    assert run("pools", "delete", "second") == (0, "", "")
    assert names() == [("default", False), ("six", False)]


def test_a_pool_is_emptied_and_deleted(run: Run) -> None:
    """As the documentation has it: disable, let the pods go, collect, delete."""
    run("pools", "disable", "default")
    with open_datastore(run.url) as datastore:
        allocator = Allocator(datastore, (), clock=lambda: 1_700_000_000)
        with pytest.raises(ExhaustedError, match="pool default is disabled"):
            allocator.assign(request(9))
        for number in range(2):
            allocator.release(handle(number))

    assert [row["verdict"] for row in run.rows("gc", *NOW)["blocks"]] == ["give back"]
    assert run("pools", "delete", "default") == (0, "", "")
    assert run.rows("pools") == []


def test_pools_apply_makes_a_datastore(run: Run, tmp_path: Path) -> None:
    """The first thing that an operator does."""
    file = tmp_path / "pools.yaml"
    file.write_text("pools:\n- {name: first, cidr: 10.1.0.0/24}\n")
    run.url = f"sqlite://{tmp_path}/new.sqlite"

    assert [row["pool"] for row in run.rows("pools", "apply", str(file))] == ["first"]


def test_a_file_of_pools_is_in_force_whole_or_not_at_all(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "pools.yaml"
    file.write_text("pools:\n- {name: good, cidr: 10.1.0.0/24}\n- {name: default, cidr: 10.2.0.0/24}\n")

    code, out, err = run("pools", "apply", str(file))

    assert (code, out) == (2, "")
    assert err == (
        f"ipamctl: {file}: default.cidr: expected 10.0.0.0/28 with blockSize 30 as the datastore has it: "
        "it has 1 blocks in use\n"
    )
    assert [row["pool"] for row in run.rows("pools")] == ["default"]


@pytest.mark.parametrize("place", ["group", "subcommand"])
@pytest.mark.parametrize("command", [["list"], ["disable", "default"], ["delete", "default"]])
def test_a_datastore_before_the_subcommand_of_pools_counts(
    place: str, command: list[str], run: Run, ctl_path: Path, tmp_path: Path
) -> None:
    """Not the default one: a pool would be deleted where nobody meant it."""
    where = ["--datastore", f"sqlite://{tmp_path / 'nothing.sqlite'}"]
    arguments = ["pools", *where, *command] if place == "group" else ["pools", *command, *where]
    run.monkeypatch.setattr("sys.argv", ["ipamctl", *arguments])

    with pytest.raises(SystemExit) as exc:
        cli.main()

    assert exc.value.code == 1
    assert "nothing.sqlite: there is no datastore" in run.capsys.readouterr().err
    assert ctl_path.exists()
