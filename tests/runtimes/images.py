"""Container images by hand, from Debian's busybox-static: one layer with one program and one page."""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

BUSYBOX = "/bin/busybox"
PAGE = "here\n"
WEB_SERVER = (BUSYBOX, "httpd", "-f", "-p", "80", "-h", "/www")

_SLEEP = [BUSYBOX, "sleep", "1000000"]
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_image(path: Path, *names: str) -> None:
    """Write an image as `docker save` does, which all runtimes read; it sleeps unless told otherwise."""
    program = Path("/usr/bin/busybox").read_bytes()
    layer = _tar({BUSYBOX.lstrip("/"): program, "www/index.html": PAGE.encode()})
    config = {
        "architecture": _ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": [], "Cmd": _SLEEP, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": names, "Layers": ["layer.tar"]}]
    files = {"manifest.json": _json(manifest), "config.json": _json(config), "layer.tar": layer}
    path.write_bytes(_tar(files))


def _tar(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
    return written.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
