"""The state depends on the files, never on the way there."""

import asyncio
import os
import shutil
import tempfile
from collections import ChainMap
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.kube.manifest_file import read_manifest
from nodeplane.kube.manifests import ManifestDirectory
from nodeplane.kube.objects import Object, ObjectKey
from tests.kube.manifest_folder import ConfigMapMount, Folder, watching
from tests.kube.objects import keyed, manifest, service

BAD = ["{", "apiVersion: v1\nkind: Service\nmetadata: {name: w}\nspec: {ports: [{port: 99999}]}\n"]
GOOD = st.dictionaries(st.sampled_from("wxyz"), st.sampled_from([80, 81]), max_size=2).map(
    lambda ports: manifest(*(service(name, port) for name, port in ports.items()))
)
FILES = st.sampled_from(["a.yaml", "b.yaml", "c.yaml"])
OPERATIONS = st.one_of(
    st.tuples(st.just("write"), FILES, GOOD | st.sampled_from(BAD)),
    st.tuples(st.just("delete"), FILES, st.just("")),
    st.tuples(st.just("rename"), FILES, FILES),
)


def last_good(operations: list[tuple[str, str, str]]) -> dict[str, str]:
    """Say which text of each file is in force, by the rule that a bad one changes nothing."""
    texts, good = dict[str, str](), dict[str, str]()
    for operation, name, argument in operations:
        if operation == "write":
            texts[name] = argument
            changed = name
        elif name not in texts:
            continue
        elif operation == "delete":
            del texts[name]
            good.pop(name, None)
            continue
        elif name == argument:
            continue
        else:
            texts[argument] = texts.pop(name)
            good.pop(name, None)
            changed = argument
        if texts[changed] not in BAD:
            good[changed] = texts[changed]
    return good


@given(st.lists(OPERATIONS, min_size=1, max_size=8))
@settings(deadline=None, max_examples=60)
def test_path_does_not_matter(operations: list[tuple[str, str, str]]) -> None:
    """Whatever was done to the files, the state is that of a fresh read of their last good versions."""

    async def walk(folder: Folder) -> dict[ObjectKey, Object]:
        state = dict[ObjectKey, Object]()
        async with watching(folder) as watch:
            for operation, name, argument in operations:
                if operation == "write":
                    (folder.path / name).write_text(argument)
                elif (folder.path / name).exists():
                    folder.remove(name) if operation == "delete" else folder.rename(name, argument)
                # Each version is seen: one that is overwritten before a reader comes was never in force.
                state = await watch.settle()
        return state

    with tempfile.TemporaryDirectory() as scratch:
        state = asyncio.run(walk(Folder(Path(scratch, "walked"))))
        fresh = Folder(Path(scratch, "fresh"))
        for name, text in last_good(operations).items():
            (fresh.path / name).write_text(text)
        versions = [read_manifest(path) for path in sorted(fresh.path.iterdir())]
        if len({key for version in versions for key in version}) == sum(map(len, versions)):
            assert state == keyed(*ManifestDirectory(fresh.path).read())
        else:
            # Two files have one object, which a fresh start refuses: the first by name is in force.
            assert state == dict(ChainMap(*(dict(version) for version in versions)))


PLACES = st.lists(st.sampled_from(["a", "b.yaml", "link", "m"]), max_size=2).map("/".join)
NAMES = st.tuples(PLACES, FILES).map("/".join).map(lambda name: name.lstrip("/"))
SWAPS = st.dictionaries(st.sampled_from(["x.yaml", "a/x.yaml", "y.yaml"]), GOOD, min_size=1)
TREE_OPERATIONS = st.one_of(
    st.tuples(st.just("write"), NAMES, GOOD),
    st.tuples(st.just("delete"), NAMES | PLACES, st.just("")),
    st.tuples(st.just("rename"), NAMES | PLACES, NAMES | PLACES),
    st.tuples(st.just("link"), st.just("link"), st.sampled_from(["a", "../else", "m/..data", ".", "b.yaml"])),
    st.tuples(st.just("swap"), st.just(""), SWAPS),
    st.tuples(st.just("elsewhere"), FILES, GOOD),
)


def work(base: Path, mount: ConfigMapMount, operation: str, name: str, argument: Any) -> None:
    """Do something to the files below `base/manifests`, as far as it can be done."""
    path = base / "manifests" / name
    # A mount's files are changed by kubelet, and by nobody else.
    touched = [name, argument] if operation == "rename" else [name]
    if operation in {"write", "delete", "rename"} and any(
        not each or {"m", "link"} & set(each.split("/")) for each in touched
    ):
        return
    with suppress(OSError):
        match operation:
            case "write":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(argument)
            case "delete" if path.is_dir():
                shutil.rmtree(path)
            case "delete":
                path.unlink()
            case "rename":
                path.rename(base / "manifests" / argument)
            case "link":
                (base / "draft").symlink_to(argument)
                (base / "draft").rename(path)
            case "swap":
                mount.update(argument)
            case "elsewhere":
                (base / "else" / name).write_text(argument)
    link = base / "manifests/link"
    if link.is_symlink() and not link.exists():
        # What it led to would stay in force.
        link.unlink()


def read_files(top: Path) -> dict[ObjectKey, Object]:
    """Read all that is below a directory, by the rule that the first file by name counts."""
    names = []
    for place, directories, files in os.walk(top, followlinks=True):
        way = {os.path.realpath(above) for above in (Path(place), *Path(place).parents)}
        directories[:] = [
            name
            for name in directories
            if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) not in way
        ]
        names += [
            os.path.relpath(os.path.join(place, name), top)
            for name in files
            if name.endswith(".yaml") and not name.startswith(".")
        ]
    return dict(ChainMap(*(read_manifest(top / name) for name in sorted(names))))


@given(st.lists(TREE_OPERATIONS, min_size=1, max_size=10))
@settings(deadline=None, max_examples=60)
def test_path_through_a_tree_does_not_matter(operations: list[tuple[str, str, Any]]) -> None:
    """Nor with directories, links and mounted ConfigMaps, whether each step is seen or several at once."""

    async def walk(base: Path) -> None:
        folder = Folder(base / "manifests")
        (base / "else").mkdir()
        mount = ConfigMapMount(folder.path / "m")
        mount.update({})
        async with watching(folder) as watch:
            for number, operation in enumerate(operations):
                work(base, mount, *operation)
                if number % 2:
                    assert await watch.settle() == read_files(folder.path)
            assert await watch.settle() == read_files(folder.path)

    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(walk(Path(scratch)))
