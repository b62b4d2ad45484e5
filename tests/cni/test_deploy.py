"""The files in deploy/ for cni-agent are what the agent takes, and fit one another."""

import configparser
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from cni.agent.cli import program
from cni.agent.config import AgentConfig, InstallConfig, read_agent_config
from cni.agent.conflist import NAME, read_conflist
from nodeplane.runtime.listen import ListenAddress

DEPLOY = Path(__file__).parents[2] / "deploy"
NODE = "n1"
HEALTHZ = ListenAddress("127.0.0.1", 9099)
CONF_DIR, BIN_DIR, ETC = "/etc/cni/net.d", "/opt/cni/bin", "/etc/nodeplane"


def documents(name: str) -> dict[str, Any]:
    """Return the objects of a file by kind; each kind is there once."""
    values = list(yaml.safe_load_all((DEPLOY / "cni" / name).read_text()))
    by_kind = {value["kind"]: value for value in values}
    assert len(by_kind) == len(values)
    return by_kind


def parse(words: list[str]) -> dict[str, Any]:
    """Return the options of a command line of the agent's, which must be right."""
    assert Path(words[0]).name == "cni-agent"
    assert words[1] == "run"
    command = program.commands["run"]
    options = [word for word in words[2:] if word != "--log-format=json"]  # every command's
    return command.make_context("run", options).params


def test_the_systemd_unit() -> None:
    unit = configparser.RawConfigParser(strict=True)
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # as configparser's manual says
    unit.read(DEPLOY / "systemd/cni-agent.service")
    service = dict(unit["Service"])

    options = parse(shlex.split(service["ExecStart"].replace("%H", NODE)))

    assert options["node_name"] == NODE
    assert options["config_file"] == Path(ETC, "agent.yaml")
    assert service["Type"] == "notify"
    # ProtectSystem=full makes /etc read-only but for this.
    config = read_agent_config(DEPLOY / "cni/agent.yaml")
    assert config.install is not None
    assert f"/etc/{service['ConfigurationDirectory']}" == config.install.conf_dir
    assert f"/var/lib/{service['StateDirectory']}/" in config.datastore


def test_what_is_commented_out(tmp_path: Path) -> None:
    """The example of BGP is one, and the unit lets bird outlive the agent open port 179 and give up root."""
    text = (DEPLOY / "cni/agent.yaml").read_text()
    head, _, example = text.partition("# bgp:\n")
    file = tmp_path / "agent.yaml"
    file.write_text(head + "bgp:\n" + example.replace("# ", "", example.count("\n")))
    bgp = read_agent_config(file).bgp
    assert bgp is not None
    assert [peer.name for peer in bgp.peers] == ["rack-a-leaf"]
    unit = (DEPLOY / "systemd/cni-agent.service").read_text()
    assert "\nKillMode=process\n" in unit
    needed = {"NET_BIND_SERVICE", "NET_RAW", "NET_BROADCAST", "SETUID", "SETGID", "CHOWN", "FOWNER", "KILL"}
    assert {f"CAP_{each}" for each in needed} <= set(unit.split())


def test_the_configuration() -> None:
    assert read_agent_config(DEPLOY / "cni/agent.yaml") == AgentConfig(
        "sqlite:///var/lib/nodeplane/ipam.sqlite",
        InstallConfig(f"{ETC}/{NAME}", CONF_DIR, BIN_DIR),
        metrics=ListenAddress("127.0.0.1", 9094),
        healthz=HEALTHZ,
    )


class Pod:
    """The DaemonSet's pod: its one container, and what is mounted where."""

    def __init__(self) -> None:
        self.objects = documents("daemonset.yaml")
        self.spec = self.objects["DaemonSet"]["spec"]["template"]["spec"]
        [self.container] = self.spec["containers"]
        self.mounts = {each["mountPath"]: each for each in self.container["volumeMounts"]}
        self.volumes = {each["name"]: each for each in self.spec["volumes"]}

    def host_path(self, path: str) -> str:
        """Return where a path of the container's lies on the host."""
        place: str = self.volumes[self.mounts[path]["name"]]["hostPath"]["path"]
        return place


@pytest.fixture
def pod() -> Pod:
    return Pod()


def test_the_daemonset_takes_its_own_configuration(pod: Pod, tmp_path: Path) -> None:
    files: dict[str, str] = pod.objects["ConfigMap"]["data"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert pod.volumes["config"]["configMap"]["name"] == pod.objects["ConfigMap"]["metadata"]["name"]

    options = parse([word.replace("$(NODE_NAME)", NODE) for word in pod.container["command"]])
    config = read_agent_config(tmp_path / options["config_file"].name)

    # All nodes share it.
    assert config.datastore.startswith("etcd://")
    assert (options["node_name"], options["kubeconfig"]) == (NODE, Path("in-cluster"))
    assert str(options["config_file"].parent) == ETC == pod.mounts[ETC]["mountPath"]
    assert config.install == InstallConfig(
        f"{ETC}/{NAME}", CONF_DIR, BIN_DIR, {"nodeplane-cni": "/opt/nodeplane/bin/nodeplane-cni-launcher"}
    )
    assert read_conflist(tmp_path / NAME, NODE, config.datastore)
    for kind in ("livenessProbe", "readinessProbe"):
        probe = pod.container[kind]["httpGet"]
        assert ListenAddress(probe["host"], probe["port"]) == config.healthz


def test_the_daemonset_writes_to_the_host(pod: Pod) -> None:
    """The plugin runs on the host, and speaks of its paths."""
    for path in (CONF_DIR, BIN_DIR, "/run/nodeplane", "/run/netns"):
        assert pod.host_path(path) == path
    assert pod.mounts["/run/netns"]["mountPropagation"] == "HostToContainer"
    assert pod.spec["hostNetwork"]
    assert pod.spec["hostPID"]


def test_the_rights(pod: Pod) -> None:
    """Nodes and services are followed (list, watch), a Node looked at (get), its status applied (patch)."""
    objects = documents("rbac.yaml")
    account, role, binding = (
        objects[kind] for kind in ("ServiceAccount", "ClusterRole", "ClusterRoleBinding")
    )

    assert {name: rule["verbs"] for rule in role["rules"] for name in rule["resources"]} == {
        "nodes": ["get", "list", "watch"],
        "services": ["list", "watch"],
        "endpointslices": ["list", "watch"],
        "nodes/status": ["patch"],
    }
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    [subject] = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == (
        account["metadata"]["name"],
        account["metadata"]["namespace"],
    )
    assert pod.spec["serviceAccountName"] == account["metadata"]["name"]
