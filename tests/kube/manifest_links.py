"""Files, links and what is read of them, for tests of a directory of manifests."""

from collections.abc import Callable
from pathlib import Path

from nodeplane.kube.objects import Object
from tests.kube.objects import manifest, namespace, service

WEB, WEB_81, DB = service("web"), service("web", 81), service("db")

N = namespace("n")


def put(path: Path, *items: Object) -> int:
    """Write a manifest, with the directories around it; return its length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.write_text(manifest(*items))


def link(path: Path, target: str) -> Path:
    """Make a link, or move it to another target at once; return it."""
    draft = path.with_name("draft")
    draft.symlink_to(target)
    return draft.rename(path)


Steps = list[Callable[[Path], object]]
