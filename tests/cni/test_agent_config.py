"""The agent's configuration file: what is taken, and one line for what is not."""

from pathlib import Path

import pytest

from cni.agent_config import AgentConfig, read_agent_config
from nodeplane.errors import ConfigError
from nodeplane.runtime.listen import ListenAddress


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "datastore: sqlite:///x/ipam.sqlite\n", AgentConfig("sqlite:///x/ipam.sqlite"), id="given"
        ),
        pytest.param("{}\n", AgentConfig("sqlite:////var/lib/nodeplane/ipam.sqlite"), id="default"),
        pytest.param(
            "{gcInterval: 1m30s, gcGrace: 1h, metricsBindAddress: '[::1]:9000'}\n",
            AgentConfig(gc_interval_s=90, gc_grace_s=3600, metrics=ListenAddress("::1", 9000)),
            id="collection and metrics",
        ),
        pytest.param(
            "{gcInterval: '0', gcGrace: 0.5s, metricsBindAddress: ''}\n",
            AgentConfig(gc_interval_s=0, gc_grace_s=0.5, metrics=None),
            id="neither",
        ),
        pytest.param(
            "datastore: etcd://h:2379,[::1]:2379/nodeplane\n",
            AgentConfig("etcd://h:2379,[::1]:2379/nodeplane"),
            id="a cluster's datastore",
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


def test_the_example_is_valid() -> None:
    example = Path(__file__).parents[2] / "deploy/cni/agent.yaml"

    assert read_agent_config(example) == AgentConfig("sqlite:///var/lib/nodeplane/ipam.sqlite")
