"""`netns-lab cni` with plugins of a test's own (what they are given), the reference ones and ours."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from netns_lab.cni_list import NetworkList
from netns_lab.cni_tool import Attachment, PluginError, Tool
from nodeplane.errors import ConfigError, NodeplaneError, ProtocolError
from tests.cni.conftest import network_config
from tests.netns_fixture import namespace, run_in
from tests.runtimes.plugin_folder import plugin_folders

COMMAND = str(Path(sys.executable).with_name("netns-lab"))
C1 = Attachment("c1", "eth0", "/")
C2 = Attachment("c2", "eth0", "/")

# Says what it was given; what it is to answer lies beside it.
_SPY = """#!/bin/sh
cat >"$0.stdin"
echo "$CNI_COMMAND ${0##*/} $CNI_CONTAINERID $CNI_NETNS $CNI_ARGS" >>"${0%/*}/calls"
cat "$0.reply" 2>/dev/null
test ! -e "$0.fails"
"""


class Spies(NamedTuple):
    """Two plugins, `a` and `b`, in a folder."""

    folder: Path

    def tool(self, version: str = "1.1.0", **fields: Any) -> Tool:
        plugins = ({"type": "a", "capabilities": {"mac": True}}, {"type": "b"})
        return Tool(NetworkList("x", version, plugins, **fields), [str(self.folder)], self.folder / "cache")

    def reply(self, name: str, text: str, *, fails: bool = False) -> None:
        (self.folder / f"{name}.reply").write_text(text)
        if fails:
            (self.folder / f"{name}.fails").touch()

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    def config(self, name: str) -> Any:
        return json.loads((self.folder / f"{name}.stdin").read_text())


@pytest.fixture
def spies(tmp_path: Path) -> Spies:
    made = Spies(tmp_path)
    for name in ("a", "b"):
        program = tmp_path / name
        program.write_text(_SPY)
        program.chmod(0o755)
        made.reply(name, json.dumps(result(name)))
    return made


def result(name: str, version: str = "1.1.0") -> dict[str, Any]:
    return {"cniVersion": version, "interfaces": [{"name": name}]}


def test_what_plugins_are_given(spies: Spies) -> None:
    """ADD in order, CHECK and DEL with the result and the arguments of ADD, DEL the other way round."""
    tool, mac = spies.tool(), {"mac": "0a:00:00:00:00:01"}

    assert tool.add(C1, "K=V", mac) == result("b")
    head = {"cniVersion": "1.1.0", "name": "x"}
    assert spies.config("a") == {"type": "a", **head, "runtimeConfig": mac}
    assert spies.config("b") == {"type": "b", **head, "prevResult": result("a")}

    tool.check(C1, "", {})
    for name, more in (("a", {"runtimeConfig": mac}), ("b", {})):
        assert spies.config(name) == {"type": name, **head, **more, "prevResult": result("b")}

    tool.delete(C1, "", {})
    assert spies.config("a") == {"type": "a", **head, "runtimeConfig": mac, "prevResult": result("b")}
    tool.delete(C1, "", {})
    assert spies.config("a") == {"type": "a", **head}

    assert spies.calls() == [
        *(f"ADD {name} c1 / K=V" for name in "ab"),
        *(f"CHECK {name} c1 / K=V" for name in "ab"),
        *(f"DEL {name} c1 / K=V" for name in "ba"),
        *(f"DEL {name} c1 / " for name in "ba"),
    ]


def test_a_namespace_that_is_gone(spies: Spies) -> None:
    spies.tool().delete(Attachment("c1", "eth0", "/nowhere"), "", {})

    assert spies.calls() == ["DEL b c1  ", "DEL a c1  "]


def test_collect(spies: Spies) -> None:
    """What is kept and not in use is detached; then the plugins are told what is in use."""
    tool = spies.tool()
    for attachment in (C1, C2):
        tool.add(attachment, "", {})

    tool.collect([C2])

    assert spies.config("b")["cni.dev/valid-attachments"] == [{"containerID": "c2", "ifname": "eth0"}]
    assert spies.calls()[4:] == ["DEL b c1 / ", "DEL a c1 / ", "GC a   ", "GC b   "]
    assert len(list((spies.folder / "cache").iterdir())) == 1


def test_collect_goes_on_after_an_error(spies: Spies) -> None:
    spies.reply("a", '{"cniVersion": "1.1.0", "code": 5, "msg": "broken"}', fails=True)

    with pytest.raises(PluginError, match=r"^a GC: code 5: broken$"):
        spies.tool().collect([])
    assert spies.calls() == ["GC a   ", "GC b   "]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        pytest.param('{"code": 7, "msg": "m", "details": "d"}', "a ADD: code 7: m; d", id="the SPEC's"),
        pytest.param("Segmentation fault", "a ADD: exit code 1: Segmentation fault", id="text"),
        pytest.param("", "a ADD: exit code 1: no reply", id="nothing"),
        pytest.param("[]", "a ADD: exit code 1: []", id="a list"),
    ],
)
def test_a_plugin_fails(spies: Spies, reply: str, message: str) -> None:
    spies.reply("a", reply, fails=True)

    with pytest.raises(PluginError) as caught:
        spies.tool().add(C1, "", {})
    assert str(caught.value) == message
    assert len(spies.calls()) == 1


def test_a_wrong_reply(spies: Spies) -> None:
    spies.reply("b", '{"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.1"}]}')

    with pytest.raises(ProtocolError) as caught:
        spies.tool().add(C1, "", {})
    assert str(caught.value) == "b ADD: ips[0].address: '10.0.0.1' is not a 'cidr'"


def test_a_plugin_that_is_not_there(spies: Spies) -> None:
    (spies.folder / "b").unlink()

    with pytest.raises(ConfigError) as caught:
        spies.tool().add(C1, "", {})
    assert str(caught.value) == f"b: expected a program in CNI_PATH {spies.folder}"


def test_commands_that_a_version_lacks(spies: Spies) -> None:
    with pytest.raises(NodeplaneError, match=r"^x: version 0\.3\.1 has no CHECK, 0\.4\.0 brought it$"):
        spies.tool("0.3.1").check(C1, "", {})
    with pytest.raises(NodeplaneError, match=r"^x: version 1\.0\.0 has no STATUS, 1\.1\.0 brought it$"):
        spies.tool("1.0.0").status()
    with pytest.raises(NodeplaneError, match=r"^c1/eth0: nothing is kept of its ADD$"):
        spies.tool().check(C1, "", {})
    spies.tool("1.0.0").collect([])
    spies.tool(is_gc_disabled=True).collect([])
    spies.tool(is_check_disabled=True).check(C1, "", {})
    assert not (spies.folder / "calls").exists()


def test_before_0_4_0_a_del_has_no_result(spies: Spies) -> None:
    for name in "ab":
        spies.reply(name, json.dumps(result(name, "0.3.1")))
    tool = spies.tool("0.3.1")
    tool.add(C1, "", {})
    tool.delete(C1, "", {})

    assert spies.config("b") == {"type": "b", "cniVersion": "0.3.1", "name": "x"}


class Lab(NamedTuple):
    """A node, a container's namespace, and where things lie."""

    node: Path
    pod: Path
    folder: Path

    def run(self, verb: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a verb in the node."""
        # Without an agent the plugin's socket only says where its lock is.
        own = {"CNI_PATH": f"{self.folder}/cni/bin", "NODEPLANE_CNI_SOCKET": f"{self.folder}/cni.sock"}
        env = {**os.environ, **own}
        command = (COMMAND, "cni", verb, "--cache", f"{self.folder}/cache", f"{self.folder}/list")
        return run_in(self.node, *command, *words, env=env, timeout_s=120)

    def write(self, version: str, *plugins: Any) -> None:
        (self.folder / "list").write_text(
            json.dumps({"cniVersion": version, "name": "nodeplane", "plugins": plugins})
        )

    def links(self) -> set[str]:
        links = json.loads(run_in(self.node, "ip", "-json", "link").stdout)
        return {link["ifname"] for link in links} - {"lo"}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    folders = plugin_folders(tmp_path / "cni")
    folders.write_in_process().rename(folders.bin / "nodeplane-cni")
    with namespace("node") as node, namespace("pod") as pod:
        yield Lab(node, pod, tmp_path)


TUNING = {"type": "tuning", "sysctl": {"net.ipv4.ip_default_ttl": "33"}}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}


def reference(kind: str, folder: Path, **fields: Any) -> dict[str, Any]:
    ipam = {"type": "host-local", "subnet": "10.9.0.0/24", "dataDir": f"{folder}/host-local"}
    return {"type": kind, "ipam": ipam, **fields}


def ours(folder: Path) -> dict[str, Any]:
    config = network_config(folder / "ipam.sqlite")
    return {key: value for key, value in config.items() if key not in {"cniVersion", "name"}}


@pytest.mark.netns
@pytest.mark.parametrize("kind", ["ptp", "bridge", "nodeplane-cni"])
def test_a_chain_of_real_plugins(lab: Lab, kind: str) -> None:
    first = ours(lab.folder) if kind == "nodeplane-cni" else reference(kind, lab.folder)
    lab.write("1.0.0", first, TUNING, PORTMAP)
    name = lab.pod.name  # as `ip netns` names it

    added = lab.run("add", name, "--port-mapping", "8080:80")
    assert (added.returncode, added.stderr) == (0, "")
    assert len(json.loads(added.stdout)["ips"]) == 1
    assert run_in(lab.pod, "cat", "/proc/sys/net/ipv4/ip_default_ttl").stdout == "33\n"
    assert "dport 8080" in run_in(lab.node, "nft", "list", "ruleset").stdout

    for _ in range(2):
        deleted = lab.run("del", str(lab.pod))
        assert (deleted.returncode, deleted.stdout, deleted.stderr) == (0, "", "")
    assert lab.links() <= {"cni0"}
    assert "dport 8080" not in run_in(lab.node, "nft", "list", "ruleset").stdout


@pytest.mark.netns
def test_ours_after_another(lab: Lab) -> None:
    """What the other made stays in the result, ours stands behind it."""
    lab.write("1.0.0", {"type": "loopback"}, ours(lab.folder), TUNING)

    added = lab.run("add", str(lab.pod))

    assert (added.returncode, added.stderr) == (0, "")
    interfaces = json.loads(added.stdout)["interfaces"]
    assert [interfaces[index]["name"] for index in (0, 2)] == ["lo", "eth0"]
    assert lab.run("check", str(lab.pod)).returncode == 0
    assert lab.run("del", str(lab.pod)).returncode == 0
    assert lab.links() == set()


@pytest.mark.netns
def test_every_verb_of_ours(lab: Lab) -> None:
    """Of two containers the one that GC is not told of loses its link; what is damaged fails CHECK."""
    lab.write("1.1.0", ours(lab.folder))
    with namespace("other") as other:
        assert lab.run("status").returncode == 0
        for place in (lab.pod, other):
            assert lab.run("add", str(place), "--container-id", place.name).returncode == 0
            assert lab.run("check", str(place), "--container-id", place.name).returncode == 0
        assert len(lab.links()) == 2

        # By their default identities neither is in use.
        collected = lab.run("gc", str(lab.pod))
        assert (collected.returncode, collected.stderr, lab.links()) == (0, "", set())

        assert lab.run("add", str(other)).returncode == 0
        assert lab.run("gc", str(other)).returncode == 0
        assert len(lab.links()) == 1
        run_in(other, "ip", "link", "set", "eth0", "down")
        checked = lab.run("check", str(other))
        assert (checked.returncode, checked.stdout) == (1, "")
        assert checked.stderr.startswith("netns-lab: nodeplane-cni CHECK: code 102: ")
        assert lab.run("del", str(other)).returncode == 0
        assert lab.links() == set()


@pytest.mark.netns
@pytest.mark.parametrize(
    ("words", "line"),
    [
        pytest.param(
            ("add", "p", "--port-mapping", "80"),
            "Invalid value for '--port-mapping': expected such as 8080:80 or 192.0.2.1:8080:80/udp, got '80'",
            id="port mapping",
        ),
        pytest.param(
            ("add", "p", "--bandwidth", "fast"),
            "Invalid value for '--bandwidth': expected such as 1000000 or 1000000:500000, got 'fast'",
            id="bandwidth",
        ),
        pytest.param(
            ("add", "p", "--ip", "host"),
            "Invalid value for '--ip': expected an IP address, got 'host'",
            id="ip",
        ),
        pytest.param(("add",), "Missing argument 'NETNS'.", id="no namespace"),
    ],
)
def test_wrong_usage(lab: Lab, words: tuple[str, ...], line: str) -> None:
    lab.write("1.0.0", reference("ptp", lab.folder))

    done = lab.run(*words)

    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"netns-lab: {line}\n")


@pytest.mark.netns
def test_capabilities_by_options(lab: Lab) -> None:
    """As the conventions have them; asked of a plugin that shows what it got."""
    program = lab.folder / "cni/bin/spy"
    program.write_text(_SPY)
    program.chmod(0o755)
    (lab.folder / "cni/bin/spy.reply").write_text(json.dumps(result("eth0")))
    taken = dict.fromkeys(("portMappings", "bandwidth", "ips", "mac"), True)
    lab.write("1.1.0", {"type": "spy", "capabilities": taken})

    done = lab.run(
        "add", "p", "--container-id", "c9", "--ifname", "net1", "--args", "K=V", "--mac", "0a:00:00:00:00:01",
        "--port-mapping", "192.0.2.1:8080:80/udp", "--port-mapping", "[::1]:1:2", "--bandwidth", "1000:500",
        "--ip", "10.0.0.1", "--ip", "fd00::1/64",
    )  # fmt: skip

    assert (done.returncode, done.stderr, json.loads(done.stdout)) == (0, "", result("eth0"))
    assert json.loads((lab.folder / "cni/bin/spy.stdin").read_text())["runtimeConfig"] == {
        "portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": "192.0.2.1"},
            {"hostPort": 1, "containerPort": 2, "protocol": "tcp", "hostIP": "::1"},
        ],
        "bandwidth": {"ingressRate": 1000, "ingressBurst": 100, "egressRate": 500, "egressBurst": 50},
        "ips": ["10.0.0.1", "fd00::1/64"],
        "mac": "0a:00:00:00:00:01",
    }
    assert (lab.folder / "cni/bin/calls").read_text() == "ADD spy c9 /run/netns/p K=V\n"
    assert [lab.run(verb).returncode for verb in ("status", "gc")] == [0, 0]
