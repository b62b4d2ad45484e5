"""podman with CNI as its network backend (as 4.x has it), with everything of its own below one folder."""

from pathlib import Path
from typing import NamedTuple

from tests.runtimes.enclosure import Enclosure
from tests.runtimes.images import write_image
from tests.runtimes.plugin_folder import PluginFolders

IMAGE = "localhost/local/busybox:1"

# podman raises limits to what it likes, which takes CAP_SYS_RESOURCE: not every machine's root has it.
_CONFIG = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
network_backend = "cni"
cni_plugin_dirs = ["{folders.bin}"]
network_config_dir = "{folders.conf}"
default_network = "nodeplane"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
static_dir = "{top}/static"
tmp_dir = "{top}/tmp"
volume_path = "{top}/volumes"
"""
# In memory, inside the place; podman takes no path longer than 50 characters.
_RUN_ROOT = "/run/podman"
_POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'


class Podman(NamedTuple):
    """podman in a place."""

    place: Enclosure
    top: Path

    def run(self, *words: str) -> str:
        """Run a command of podman's, which must succeed; return what it printed."""
        storage = ("--root", f"{self.top}/root", "--runroot", _RUN_ROOT, "--storage-driver", "vfs")
        env = {"CONTAINERS_CONF": f"{self.top}/containers.conf"}
        return self.place.run("podman", *storage, *words, env=env).strip()

    def start(self, name: str, *words: str, ports: tuple[str, ...] = ()) -> None:
        """Start a container."""
        publish = [word for port in ports for word in ("--publish", port)]
        group = ("--cgroup-parent", self.place.cgroup)
        self.run("run", "--detach", "--name", name, "--hostname", name, *group, *publish, IMAGE, *words)

    def address(self, name: str) -> str:
        """Return a container's address as podman has it from the plugin's result."""
        return self.run("inspect", "--format", "{{.NetworkSettings.Networks.nodeplane.IPAddress}}", name)


def podman(place: Enclosure, top: Path, folders: PluginFolders) -> Podman:
    """Return a podman with one image."""
    top.mkdir()
    (top / "containers.conf").write_text(_CONFIG.format(top=top, folders=folders))
    policy, image = top / "policy.json", top / "image.tar"
    policy.write_text(_POLICY)
    write_image(image, IMAGE)
    made = Podman(place, top)
    made.run("load", "--signature-policy", str(policy), "--input", str(image))
    return made
