"""kubectl drives the lab: what it says is answered by coredns-lite and balanced by kubeproxy."""

import json
from collections.abc import Iterator

import pytest

from netns_lab.commands import bare_module
from tests.kubectls import path_with, which_kubectls
from tests.lab.labs import TWO_NODES, LabUnderTest, lab_from, run
from tests.netns_fixture import eventually

pytestmark = pytest.mark.lab

# Enough for each of two backends to be chosen, but for one run in 10^9.
_CONNECTIONS = 32

REFUSED = "[Errno 111] Connection refused"
NAME = "shop.default.svc.cluster.local"
PODS = "pods.default.svc.cluster.local"

SHOP = """
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: pods}
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{name: http, port: 8080}]
"""


class Shell:
    """A person with a kubectl, and what the client pod of the lab sees meanwhile."""

    def __init__(self, lab: LabUnderTest, environment: dict[str, str]) -> None:
        self.lab = lab
        self._environment = environment

    def kubectl(self, *arguments: str, stdin: str = "", editor: str = "false") -> str:
        """Run `netns-lab kubectl`; return what it prints."""
        environment = {**self._environment, "EDITOR": editor}
        command = ("kubectl", "--lab", self.lab.name, *arguments)
        return run(*command, stdin=stdin, environment=environment).stdout

    def dig(self, name: str) -> list[str]:
        """Return the status of the answer to the client pod, and the addresses in it."""
        printed = self.lab.execute("client", "dig", "+noall", "+comments", "+answer", name).stdout
        status = printed.partition("status: ")[2].partition(",")[0]
        lines = (line.split() for line in printed.splitlines() if line and not line.startswith(";"))
        return [status, *sorted(fields[4] for fields in lines if fields[3] == "A")]

    def visit(self, name: str, port: int, times: int = _CONNECTIONS) -> set[str]:
        """Connect from the client pod again and again; return which pods answered, and which errors came."""
        client = bare_module("netns_lab.client", name, str(port), str(times))
        seen = json.loads(self.lab.execute("client", *client).stdout)["connections"]
        return {entry["answer"]["pod"] if "answer" in entry else entry["error"] for entry in seen}


@pytest.fixture(scope="module", params=which_kubectls())
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Yield a person at a lab of two nodes and two web pods."""
    environment = {"PATH": path_with(request.param)}
    with lab_from(TWO_NODES, tmp_path_factory.mktemp("kubectl")) as lab:
        lab.up()
        yield Shell(lab, environment)


def test_transcript(shell: Shell) -> None:
    """A Service from its making to its end, seen from a pod."""
    addresses = {row["pod"]: row["address"] for row in shell.lab.status()["pods"]}
    webs = sorted(addresses[pod] for pod in ("default/web-1", "default/web-2"))

    # Made: it has an address, endpoints, a name, and each connection goes to one of its pods.
    said = shell.kubectl("apply", "-f", "-", stdin=SHOP)
    assert said.splitlines() == ["service/shop created", "service/pods created"]
    vip = shell.kubectl("get", "service", "shop", "-o", "jsonpath={.spec.clusterIP}")
    line = shell.kubectl("get", "service", "shop", "--no-headers")
    assert line.split()[:5] == ["shop", "ClusterIP", vip, "<none>", "80/TCP"]
    eventually(lambda: shell.dig(NAME), lambda answer: answer == ["NOERROR", vip])
    eventually(lambda: shell.dig(PODS), lambda answer: answer == ["NOERROR", *webs])
    eventually(lambda: shell.visit(NAME, 80), lambda seen: seen == {"web-1", "web-2"})

    # Applied again it stays as it is.
    said = shell.kubectl("apply", "-f", "-", stdin=SHOP)
    assert said.splitlines() == ["service/shop unchanged", "service/pods unchanged"]

    # Edited: the new port leads there, the old one nowhere.
    said = shell.kubectl("edit", "service", "shop", editor="sed -i 's/port: 80$/port: 81/'")
    assert said == "service/shop edited\n"
    eventually(lambda: shell.visit(NAME, 81), lambda seen: seen == {"web-1", "web-2"})
    eventually(lambda: shell.visit(NAME, 80, times=1), is_nobody)

    # One of two pods deleted: the other answers alone, to the address and by name.
    assert shell.kubectl("delete", "pod", "web-1") == 'pod "web-1" deleted\n'
    eventually(lambda: shell.dig(PODS), lambda answer: answer == ["NOERROR", addresses["default/web-2"]])
    eventually(lambda: shell.visit(NAME, 81), lambda seen: seen == {"web-2"})

    # Nobody selected: refused at once, and the name is still there.
    patch = '{"spec": {"selector": {"app": "nobody"}}}'
    assert shell.kubectl("patch", "service", "shop", "-p", patch) == "service/shop patched\n"
    eventually(lambda: shell.visit(NAME, 81), lambda seen: seen == {REFUSED})
    assert shell.dig(NAME) == ["NOERROR", vip]

    # Deleted: no name, and the address is nobody's.
    assert shell.kubectl("delete", "service", "shop", "pods").splitlines() == [
        'service "shop" deleted',
        'service "pods" deleted',
    ]
    eventually(lambda: shell.dig(NAME), lambda answer: answer == ["NXDOMAIN"])
    eventually(lambda: shell.dig(PODS), lambda answer: answer == ["NXDOMAIN"])
    eventually(lambda: shell.visit(vip, 81, times=1), is_nobody)


def is_nobody(seen: set[str]) -> bool:
    """Say whether no pod answered, whatever came instead."""
    return not seen & {"web-1", "web-2"}
