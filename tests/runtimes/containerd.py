"""containerd as a kubelet would find it, with everything of its own below one folder.

enclosure on node n1 ┌──────────────────────────────────────────────┐
test ── CRI (gRPC) ──┼─► containerd ─► runc, snapshotter `native`   │
                     │        └─────► CNI folders ─► nodeplane-cni  │
                     └──────────────────────────────────────────────┘
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.netns_fixture import eventually
from tests.runtimes.cri import Cri, open_cri
from tests.runtimes.enclosure import Enclosure
from tests.runtimes.images import write_image
from tests.runtimes.plugin_folder import PluginFolders

IMAGE = "local/busybox:1"
_PAUSE = "local/pause:1"

_CONFIG = """
version = 2
root = "{top}/root"
state = "{top}/state"
[grpc]
  address = "{top}/sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{top}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{folders.bin}"
    conf_dir = "{folders.conf}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


@contextmanager
def containerd(place: Enclosure, top: Path, folders: PluginFolders) -> Iterator[Cri]:
    """Run containerd in a place, with images for sandboxes and containers; it ends with the place."""
    top.mkdir()
    config, image, log = top / "config.toml", top / "image.tar", top / "log"
    config.write_text(_CONFIG.format(top=top, pause=_PAUSE, folders=folders))
    write_image(image, IMAGE, _PAUSE)
    with log.open("w") as output:
        process = subprocess.Popen(
            place.command("containerd", "--config", str(config)), stdout=output, stderr=output
        )
    try:
        eventually((top / "sock").exists, bool)
        with open_cri(top / "sock") as cri:
            eventually(cri.is_running, bool)
            address = ("--address", f"{top}/sock", "--namespace", "k8s.io")
            place.run("ctr", *address, "images", "import", "--snapshotter", "native", str(image))
            yield cri
    finally:
        # nsenter only, which passes no signal on.
        process.kill()
        process.wait()
