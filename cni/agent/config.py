"""The configuration file of cni-agent: the datastore that nodeplane-cni uses too, and what else it does."""

import os
import sys
from pathlib import Path

import msgspec

from cni.agent.conflist import PLUGIN, read_conflist
from cni.agent.install import File, build_files
from cni.bgp.config import BgpConfig
from cni.bgp.config_file import BgpFile, build_config
from cni.call_lock import find_socket
from cni.duration import decode_duration
from cni.routing.vxlan import VxlanConfig
from ipam.config import DEFAULT_DATASTORE
from ipam.datastore_url import decode_datastore
from nodeplane.errors import ConfigError
from nodeplane.runtime.listen import ListenAddress, parse_listen_address
from nodeplane.yamldoc import YamlDocument, read_documents

# Calico's kube-controllers, whose metrics of addresses ours are, listen on 9094.
_DEFAULT_METRICS = "127.0.0.1:9094"
# Where the plugin's own programs are: beside ours. The first that is there is the quickest.
_BESIDE = Path(sys.executable).parent
_VARIANTS = (f"{PLUGIN}-launcher", f"{PLUGIN}-shim", PLUGIN)
_IPAM = "nodeplane-ipam"
# The smallest that IPv6 has (RFC 8200, section 5), and what an IP packet around it can be.
_VXLAN_MTUS = range(1280, 65486)


class InstallConfig(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What to give the container runtime, and where; `programs` maps a name to the file to copy."""

    conflist: str
    conf_dir: str = "/etc/cni/net.d"
    bin_dir: str = "/opt/cni/bin"
    programs: dict[str, str] = msgspec.field(default_factory=lambda: find_programs(_BESIDE))


class VxlanFile(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The VXLAN links as they are written; `mtu` 0 is what the uplink has room for."""

    vni: int = 4096
    port: int = 4789
    mtu: int = 0


class _File(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    datastore: str = DEFAULT_DATASTORE
    install: InstallConfig | None = None
    node_condition: bool = True
    gc_interval: str = "1m"
    gc_grace: str = "5m"
    gc_all_gone: bool = False
    metrics_bind_address: str = _DEFAULT_METRICS
    healthz_bind_address: str = ""
    socket: str | None = None
    bgp: BgpFile | None = None
    vxlan: VxlanFile = VxlanFile()


class AgentConfig(msgspec.Struct, frozen=True):
    """What cni-agent needs to know beyond its command line.

    Attributes:
        datastore: The URL that the plugin uses too.
        install: What to give the container runtime; None for nothing.
        node_condition: Whether to tell an API server that the node has a network.
        gc_interval_s: Seconds between two looks for addresses that were left behind; 0 for none at all.
        gc_grace_s: For how long an address must have been left behind before it is freed.
        gc_all_gone: Free also when not one namespace of this boot can be seen.
        metrics: Where the metrics are shown; None for nowhere.
        healthz: Where health and readiness are shown; None for nowhere.
        socket: Where the shims find the agent; empty is nowhere, None is where a shim looks by itself.
        bgp: Whom to speak BGP to; None for nobody.
        vxlan: How packets are tunnelled, in pools of the modes vxlan and cross-subnet.
    """

    datastore: str = DEFAULT_DATASTORE
    install: InstallConfig | None = None
    node_condition: bool = True
    gc_interval_s: float = 60.0
    gc_grace_s: float = 300.0
    gc_all_gone: bool = False
    metrics: ListenAddress | None = ListenAddress("127.0.0.1", 9094)
    healthz: ListenAddress | None = None
    socket: str | None = None
    bgp: BgpConfig | None = None
    vxlan: VxlanConfig = VxlanConfig()

    @property
    def socket_path(self) -> Path | None:
        """Where the shims find the agent."""
        if self.socket is None:
            return find_socket(os.environ)
        return Path(self.socket) if self.socket else None


def find_programs(folder: Path) -> dict[str, str]:
    """Return the programs that a set-up has left in a folder, by the names that runtimes know them by."""
    plugin = next((name for name in _VARIANTS if (folder / name).is_file()), PLUGIN)
    return {PLUGIN: str(folder / plugin), _IPAM: str(folder / _IPAM)}


def read_agent_config(path: Path) -> AgentConfig:
    """Read and check a configuration file.

    Raises:
        ConfigError: it can't be read, or a field is wrong; names file, line and field.
    """
    documents = read_documents(path)
    if len(documents) != 1:
        raise ConfigError(str(path), "", f"expected one YAML document, got {len(documents)}")
    document = documents[0]
    config = document.convert(_File)
    # The check itself is ipam's; the line is the document's.
    place = document.error(("datastore",), "").place
    decode_datastore(config.datastore, place, "datastore")
    if config.socket and not config.socket.startswith("/"):
        raise document.error(("socket",), f"expected an absolute path, got {config.socket!r}")
    if config.install is not None:
        _check_install(document, config.install)
    return AgentConfig(
        datastore=config.datastore,
        install=config.install,
        node_condition=config.node_condition,
        gc_interval_s=decode_duration(document, ("gcInterval",), config.gc_interval),
        gc_grace_s=decode_duration(document, ("gcGrace",), config.gc_grace),
        gc_all_gone=config.gc_all_gone,
        metrics=_decode_address(document, "metricsBindAddress", config.metrics_bind_address),
        healthz=_decode_address(document, "healthzBindAddress", config.healthz_bind_address),
        socket=config.socket,
        bgp=None if config.bgp is None else build_config(document, ("bgp",), config.bgp),
        vxlan=_check_vxlan(document, config.vxlan),
    )


def read_files(config: AgentConfig, node_name: str) -> tuple[File, ...]:
    """Read what is to be installed; nothing if the configuration does not ask for it.

    Raises:
        ConfigError: a file can't be read, or the configuration list is wrong.
    """
    install = config.install
    if install is None:
        return ()
    conflist = read_conflist(Path(install.conflist), node_name, config.datastore)
    programs = {name: _read_program(Path(path)) for name, path in install.programs.items()}
    return build_files(Path(install.bin_dir), Path(install.conf_dir), programs, conflist)


def _read_program(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigError(str(path), "", f"expected a readable program: {exc.strerror}") from exc


def _check_install(document: YamlDocument, install: InstallConfig) -> None:
    paths: dict[tuple[str, ...], str] = {
        ("conflist",): install.conflist,
        ("confDir",): install.conf_dir,
        ("binDir",): install.bin_dir,
        **{("programs", name): path for name, path in install.programs.items()},
    }
    for field, text in paths.items():
        # One that depends on where the agent was started would be right by chance.
        if not Path(text).is_absolute():
            raise document.error(("install", *field), f"expected an absolute path, got {text!r}")
    for name in install.programs:
        if Path(name).name != name or name.startswith("."):
            raise document.error(("install", "programs"), f"expected the names of programs, got {name!r}")


def _check_vxlan(document: YamlDocument, vxlan: VxlanFile) -> VxlanConfig:
    # RFC 7348, section 5: 24 bits.
    for field, value, values in (
        ("vni", vxlan.vni, range(1, 1 << 24)),
        ("port", vxlan.port, range(1, 1 << 16)),
    ):
        if value not in values:
            raise document.error(("vxlan", field), f"expected a number from 1 to {values[-1]}")
    if vxlan.mtu and vxlan.mtu not in _VXLAN_MTUS:
        raise document.error(("vxlan", "mtu"), f"expected 0, or from {_VXLAN_MTUS[0]} to {_VXLAN_MTUS[-1]}")
    return VxlanConfig(vxlan.vni, vxlan.port, vxlan.mtu)


def _decode_address(document: YamlDocument, field: str, text: str) -> ListenAddress | None:
    if not text:
        return None
    try:
        return parse_listen_address(text)
    except ValueError as exc:
        raise document.error((field,), str(exc)) from exc
