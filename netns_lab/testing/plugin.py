"""The plugin for pytest: a fixture `lab`, and a failed test's report with the lab's state and packets.

The lab is the module's: brought up for its first test that asks for it, and removed behind the last one.
Its topology is the file beside the test, see `netns_lab.testing.topology_file`.
"""

import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from netns_lab.testing.lab_handle import LabHandle

# The rest of the lab is imported when a test asks for one: every run of pytest loads this module.

_KEPT = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's options."""
    group = parser.getgroup("netns-lab")
    group.addoption("--keep-lab", action="store_true", help="leave the labs of tests up afterwards")
    group.addoption(
        "--pause-on-error", action="store_true", help="wait for Enter behind a failed test that has a lab"
    )
    group.addoption(
        "--lab-capture",
        choices=["nodes", "none"],
        default="nodes",
        help="where packets are captured for the report of a failure (default: nodes)",
    )


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator["LabHandle"]:
    """Return a lab that is up, of the topology beside the test, or the one that `LAB_TOPOLOGY` names."""
    from netns_lab.loader import read_lab
    from netns_lab.testing.lab_handle import LabHandle
    from netns_lab.testing.topology_file import find_topology, renamed_copy

    chosen = getattr(request.module, "LAB_TOPOLOGY", None)
    file = renamed_copy(find_topology(request.path, chosen), tmp_path_factory.mktemp("lab"))
    handle = LabHandle(read_lab(file).topology, file)
    try:
        handle.up()
        yield handle
    finally:
        if request.config.getoption("keep_lab"):
            request.config.stash.setdefault(_KEPT, []).append(handle.name)
        else:
            handle.down()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Capture while a test with a lab runs, and add to the report if it fails."""
    handle = _lab_of(item)
    if handle is None:
        return (yield)
    from netns_lab.testing.evidence import captured, read_packets, read_state

    is_wanted = item.config.getoption("lab_capture") == "nodes"
    folder = Path(tempfile.mkdtemp(prefix="packets-", dir=handle.file.parent))
    with ExitStack() as stack:
        files = stack.enter_context(captured(handle, folder)) if is_wanted else []
        try:
            return (yield)
        except Exception:
            item.add_report_section("call", "lab", read_state(handle))
            if files:
                item.add_report_section("call", "packets", read_packets(files))
            raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Stop behind a failure, while the lab is still as the test has left it."""
    report = yield
    handle = _lab_of(item)
    if handle is not None and report.failed and item.config.getoption("pause_on_error"):
        _pause(item, handle, report.longreprtext)
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say which labs are kept."""
    for name in config.stash.get(_KEPT, []):
        terminalreporter.write_line(f"lab {name} is kept; `netns-lab down {name}` removes it")


def _lab_of(item: pytest.Item) -> "LabHandle | None":
    """Return the lab that a test has been given, None if it has none, or one of another kind."""
    found = getattr(item, "funcargs", {}).get("lab")
    if found is None:
        return None
    from netns_lab.testing.lab_handle import LabHandle

    return found if isinstance(found, LabHandle) else None


def _pause(item: pytest.Item, handle: "LabHandle", failure: str) -> None:
    capturing = item.config.pluginmanager.getplugin("capturemanager")
    if capturing is not None:
        capturing.suspend_global_capture(in_=True)
    try:
        print(f"\n{failure}\n\n{item.nodeid} has failed; lab {handle.name} is as it was then:")
        input(f"  netns-lab exec --lab {handle.name} NODE|POD -- CMD\nEnter goes on. ")
    except EOFError:
        # Nobody is there.
        print()
    finally:
        if capturing is not None:
            capturing.resume_global_capture()
