"""The agent's configuration file: what is taken, and one line for what is not."""

from pathlib import Path

import pytest

from cni.agent.config import AgentConfig, InstallConfig, find_programs, read_agent_config, read_files
from cni.agent.install import File
from cni.routing.vxlan import VxlanConfig
from nodeplane.errors import ConfigError
from nodeplane.runtime.listen import ListenAddress

DEFAULT = "sqlite:////var/lib/nodeplane/ipam.sqlite"
INSTALL = """
install:
  conflist: /x/list
  confDir: /x/conf
  binDir: /x/bin
  programs: {nodeplane-cni: /x/launcher}
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "datastore: sqlite:///x/ipam.sqlite\n", AgentConfig("sqlite:///x/ipam.sqlite"), id="given"
        ),
        pytest.param("{}\n", AgentConfig(DEFAULT), id="default"),
        pytest.param(
            INSTALL
            + "nodeCondition: false\nmetricsBindAddress: '[::1]:1'\nhealthzBindAddress: 127.0.0.1:2\n",
            AgentConfig(
                DEFAULT,
                InstallConfig("/x/list", "/x/conf", "/x/bin", {"nodeplane-cni": "/x/launcher"}),
                node_condition=False,
                metrics=ListenAddress("::1", 1),
                healthz=ListenAddress("127.0.0.1", 2),
            ),
            id="everything",
        ),
        pytest.param("metricsBindAddress: ''\n", AgentConfig(DEFAULT, metrics=None), id="no metrics"),
        pytest.param(
            "{gcInterval: 1m30s, gcGrace: 1h, metricsBindAddress: '[::1]:9000'}\n",
            AgentConfig(gc_interval_s=90, gc_grace_s=3600, metrics=ListenAddress("::1", 9000)),
            id="collection and metrics",
        ),
        pytest.param(
            "{gcInterval: '0', gcGrace: 0.5s}\n",
            AgentConfig(gc_interval_s=0, gc_grace_s=0.5),
            id="no collection",
        ),
        pytest.param(
            "datastore: etcd://h:2379,[::1]:2379/nodeplane\n",
            AgentConfig("etcd://h:2379,[::1]:2379/nodeplane"),
            id="a cluster's datastore",
        ),
        pytest.param(
            "vxlan: {vni: 7, port: 8472, mtu: 1400}\n",
            AgentConfig(vxlan=VxlanConfig(7, 8472, 1400)),
            id="tunnels",
        ),
    ],
)
def test_read(tmp_path: Path, text: str, expected: AgentConfig) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(text)

    assert read_agent_config(file) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "---\ndatastore: file:///x\n",
            "FILE:2: datastore: expected sqlite:///absolute/path or etcd://host:port[,host:port]/prefix, "
            "got 'file:///x'",
            id="scheme",
        ),
        pytest.param(
            "gcGrace: 5 min\n",
            "FILE:1: gcGrace: expected a duration such as 30s, 5m or 1h, got '5 min'",
            id="duration",
        ),
        pytest.param("gcInterval: 5\n", "FILE:1: gcInterval: expected `str`, got `int`", id="no unit"),
        pytest.param(
            "metricsBindAddress: localhost\n",
            "FILE:1: metricsBindAddress: expected an IP address and a port, such as 127.0.0.1:10249, got "
            "'localhost'",
            id="address",
        ),
        pytest.param("datastore: 7\n", "FILE:1: datastore: expected `str`, got `int`", id="type"),
        pytest.param(
            "data_store: x\n", "FILE:1: data_store: expected no such field, got 'x'", id="unknown field"
        ),
        pytest.param(
            "install: {}\n", "FILE:1: install.conflist: expected a value", id="install without a list"
        ),
        pytest.param(
            INSTALL.replace("/x/conf", "net.d"),
            "FILE:4: install.confDir: expected an absolute path, got 'net.d'",
            id="relative path",
        ),
        pytest.param(
            INSTALL.replace("/x/launcher", "launcher"),
            "FILE:6: install.programs.nodeplane-cni: expected an absolute path, got 'launcher'",
            id="relative program",
        ),
        pytest.param(
            INSTALL.replace("nodeplane-cni:", "../x:"),
            "FILE:6: install.programs: expected the names of programs, got '../x'",
            id="name of a program",
        ),
        pytest.param(
            "nodeCondition: maybe\n",
            "FILE:1: nodeCondition: expected `bool`, got `str`",
            id="condition",
        ),
        pytest.param(
            "healthzBindAddress: host:1\n",
            "FILE:1: healthzBindAddress: expected an IP address and a port, such as 127.0.0.1:10249, "
            "got 'host:1'",
            id="address",
        ),
        pytest.param(
            "vxlan:\n  vni: 16777216\n",
            "FILE:2: vxlan.vni: expected a number from 1 to 16777215, got '16777216'",
            id="network of the tunnels",
        ),
        pytest.param(
            "vxlan: {port: 0}\n",
            "FILE:1: vxlan.port: expected a number from 1 to 65535, got '0'",
            id="port of the tunnels",
        ),
        pytest.param(
            "vxlan: {mtu: 1279}\n",
            "FILE:1: vxlan.mtu: expected 0, or from 1280 to 65485, got '1279'",
            id="MTU of the tunnels",
        ),
        pytest.param("- a\n", "FILE:1: expected `object`, got `array`", id="a list"),
        pytest.param("", "FILE: expected one YAML document, got 0", id="empty"),
        pytest.param("{}\n---\n{}\n", "FILE: expected one YAML document, got 2", id="two documents"),
    ],
)
def test_refuse(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(text)

    with pytest.raises(ConfigError) as caught:
        read_agent_config(file)
    assert str(caught.value) == message.replace("FILE", str(file))


def test_the_plugin_is_found_beside_the_agent() -> None:
    assert all(Path(path).is_file() for path in InstallConfig("/x").programs.values())


@pytest.mark.parametrize(
    ("there", "plugin"),
    [
        pytest.param(
            ("nodeplane-cni", "nodeplane-cni-shim", "nodeplane-cni-launcher"), "nodeplane-cni-launcher"
        ),
        pytest.param(("nodeplane-cni", "nodeplane-cni-shim"), "nodeplane-cni-shim"),
        pytest.param(("nodeplane-cni",), "nodeplane-cni"),
        pytest.param((), "nodeplane-cni"),
    ],
)
def test_find_programs(tmp_path: Path, there: tuple[str, ...], plugin: str) -> None:
    for name in there:
        (tmp_path / name).touch()

    assert find_programs(tmp_path) == {
        "nodeplane-cni": str(tmp_path / plugin),
        "nodeplane-ipam": str(tmp_path / "nodeplane-ipam"),
    }


def test_read_files(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(
        '{"cniVersion": "1.1.0", "name": "x", "plugins": '
        '[{"type": "nodeplane-cni", "ipam": {"type": "static"}}]}'
    )
    (tmp_path / "launcher").write_bytes(b"binary")
    programs = {"nodeplane-cni": str(tmp_path / "launcher")}
    config = AgentConfig(install=InstallConfig(str(tmp_path / "list"), "/c", "/b", programs))

    program, conflist = read_files(config, "n1")

    assert program == File(Path("/b/nodeplane-cni"), b"binary", 0o755)
    assert conflist.path == Path("/c/10-nodeplane.conflist")
    assert b'"nodeName": "n1"' in conflist.content


def test_read_no_files() -> None:
    assert read_files(AgentConfig(), "n1") == ()


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(
        '{"cniVersion": "1.1.0", "name": "x", "plugins": '
        '[{"type": "nodeplane-cni", "ipam": {"type": "static"}}]}'
    )
    config = AgentConfig(install=InstallConfig(str(tmp_path / "list"), programs={"a": "/nowhere/a"}))

    with pytest.raises(ConfigError) as caught:
        read_files(config, "n1")
    assert str(caught.value) == "/nowhere/a: expected a readable program: No such file or directory"
