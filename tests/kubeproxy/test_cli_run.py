"""`kubeproxy run` as a process: its source, pages, configuration and end."""

import http.client
import json
import subprocess
from pathlib import Path

import pytest

from kubeproxy.rules.layout import TABLE
from nodeplane.datapath import netns
from tests.kubeproxy.cli_stand import CONFIG, PROGRAM, SHOWN, WEB, inputs, running, shown
from tests.netns_fixture import eventually, namespace, run_in


@pytest.mark.netns
def test_run_follows_the_directory(manifests: Path, tmp_path: Path) -> None:
    """Changes arrive, a bad file keeps the last good one, damage heals, SIGTERM leaves the rules."""
    with namespace() as ns:
        with running(ns, manifests, tmp_path) as process:
            assert [row["endpoints"] for row in shown(ns)] == [SHOWN["endpoints"]]

            (manifests / "web.yaml").write_text(WEB.replace("10.244.0.1]", "10.244.0.7]"))
            eventually(
                lambda: shown(ns), lambda rows: rows[0]["endpoints"] == ["10.244.0.2:8080", "10.244.0.7:8080"]
            )

            (manifests / "web.yaml").write_text("apiVersion: v1\nkind: Service\n")
            eventually((tmp_path / "log").read_text, lambda text: "last good version" in text)
            assert shown(ns)[0]["endpoints"] == ["10.244.0.2:8080", "10.244.0.7:8080"]

            run_in(ns, "nft", "flush", "ruleset")
            eventually(lambda: shown(ns), bool)
        assert process.returncode == 0
        assert shown(ns)[0]["endpoints"] == ["10.244.0.2:8080", "10.244.0.7:8080"]


@pytest.mark.netns
def test_killed_and_restarted_writes_nothing(manifests: Path, tmp_path: Path) -> None:
    """kill -9 and a new process: the same table, not one transaction more."""
    with namespace() as ns:
        with running(ns, manifests, tmp_path) as process:
            process.kill()
            process.wait(timeout=60)
        before = run_in(ns, "nft", "-a", "list", "ruleset").stdout
        with running(ns, manifests, tmp_path):
            after = run_in(ns, "nft", "-a", "list", "ruleset").stdout

    assert after == before


def ask(ns: Path, address: str, path: str) -> tuple[int, str]:
    """Ask a page inside a namespace."""
    with netns.inside(ns):
        connection = http.client.HTTPConnection(address, timeout=30)
        connection.connect()
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.netns
def test_pages(manifests: Path, tmp_path: Path) -> None:
    """The two servers stand where upstream's do; a load balancer finds the health check of its Service."""
    (manifests / "web.yaml").write_text(
        WEB.replace(
            "clusterIP",
            "type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 31234, clusterIP",
        )
    )
    with namespace() as ns, running(ns, manifests, tmp_path, "--nodeport-addresses", "0.0.0.0/0"):
        health = ask(ns, "127.0.0.1:10256", "/healthz")
        pages = {
            path: ask(ns, "127.0.0.1:10249", path)
            for path in ("/metrics", "/healthz", "/proxyMode", "/configz", "/statusz", "/flagz")
        }
        check = eventually(lambda: ask(ns, "127.0.0.1:31234", "/"), lambda answer: answer[0] == 200)

    assert (health[0], json.loads(health[1])["nodeEligible"]) == (200, True)
    assert {path: status for path, (status, _) in pages.items()} == dict.fromkeys(pages, 200)
    assert pages["/proxyMode"][1] == "nftables"
    assert json.loads(pages["/configz"][1])["kubeproxy.config.k8s.io"]["nodePortAddresses"] == ["0.0.0.0/0"]
    assert "node-name=n1\n" in pages["/flagz"][1]
    assert 'kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"}' in pages["/metrics"][1]
    assert json.loads(check[1])["localEndpoints"] == 1


@pytest.mark.netns
def test_config_is_watched(manifests: Path, tmp_path: Path) -> None:
    """A wrong file changes nothing; a good one that says something else ends the program well."""
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    with namespace() as ns:
        with running(
            ns, manifests, tmp_path, "--config", str(config), "--cluster-cidr", "10.0.0.0/8"
        ) as process:
            assert ask(ns, "127.0.0.1:8001", "/proxyMode") == (200, "nftables")
            config.write_text(CONFIG + "mod: x\n")
            log = eventually((tmp_path / "log").read_text, lambda text: "configuration is wrong" in text)
            assert f"{config}:4: mod: expected no such field" in log
            assert process.poll() is None
            config.write_text(CONFIG + "clusterCIDR: 10.244.0.0/16\n")
            assert process.wait(timeout=60) == 0
        log = (tmp_path / "log").read_text()
        assert len(shown(ns)) == 1

    assert "reason='the configuration file has changed'" in log
    assert "flag ignored beside --config flag=--cluster-cidr" in log


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(CONFIG + "mod: x\n", ":4: mod: expected no such field, got 'x'", id="unknown field"),
        pytest.param(
            CONFIG + "mode: iptables\n",
            ":4: mode: expected one of auto, ipvs, nftables, got 'iptables'",
            id="another mode",
        ),
        pytest.param(None, ": expected a readable file: No such file or directory", id="no file"),
    ],
)
@pytest.mark.parametrize("command", ["run", "once", "plan"])
def test_wrong_config_is_one_line(tmp_path: Path, command: str, text: str | None, message: str) -> None:
    """A wrong configuration: file, line, field, expected, and exit code 2."""
    config = tmp_path / "config.yaml"
    if text is not None:
        config.write_text(text)
    done = subprocess.run(
        [PROGRAM, command, "--config", str(config)], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"kubeproxy: {config}{message}\n")


@pytest.mark.netns
def test_init_only() -> None:
    """What needs all of root's rights is set up, and nothing else."""
    established = "net.netfilter.nf_conntrack_tcp_timeout_established"
    with namespace() as ns:
        done = run_in(ns, PROGRAM, "run", "--init-only", "--conntrack-tcp-timeout-established", "1h2m")
        value = run_in(ns, "sysctl", "-n", established).stdout
        left = run_in(ns, "nft", "list", "ruleset").stdout

    assert (done.returncode, value, left) == (0, "3720\n", "")


@pytest.mark.netns
def test_options_reach_the_rules(manifests: Path) -> None:
    """Flags and Node decide what the rules look like."""
    (manifests / "node.yaml").write_text(
        "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nspec: {podCIDRs: [10.244.7.0/24]}\n"
        "status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}\n"
    )
    options = (
        "--detect-local-mode",
        "NodeCIDR",
        "--nodeport-addresses",
        "primary",
        "--nftables-masquerade-bit",
        "9",
    )
    with namespace() as ns:
        once = run_in(ns, PROGRAM, "once", *inputs(manifests), *options)
        plan = run_in(ns, PROGRAM, "plan", *inputs(manifests), *options, "-o", "json")
        ruleset = run_in(ns, "nft", "list", "table", "ip", TABLE).stdout

    assert (once.returncode, plan.stdout) == (0, "[]\n"), once.stderr
    assert "ip saddr != 10.244.7.0/24" in ruleset
    assert "0x00000200" in ruleset
    assert "192.0.2.1" in ruleset


@pytest.mark.netns
def test_other_pod_networks_end_it(manifests: Path, tmp_path: Path) -> None:
    """The rules are made of this Node's podCIDRs: when they change, the program ends well, for a restart."""
    text = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nspec: {podCIDRs: [10.244.7.0/24]}\n"
    node = manifests / "node.yaml"
    node.write_text(text)
    with namespace() as ns, running(ns, manifests, tmp_path, "--detect-local-mode", "NodeCIDR") as process:
        node.write_text(text.replace("7.0/24", "8.0/24"))
        assert process.wait(timeout=60) == 0
        assert len(shown(ns)) == 1

    log = (tmp_path / "log").read_text()
    assert "reason='podCIDRs changed from 10.244.7.0/24 to 10.244.8.0/24'" in log
