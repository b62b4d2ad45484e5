"""A client of the Container Runtime Interface, as much of it as a kubelet needs to run a pod.

The numbers are those of the fields in k8s.io/cri-api, pkg/apis/runtime/v1/api.proto.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import grpc

from tests.runtimes.protobuf import Message, decode, encode

_LIMIT_S = 120.0
_PROTOCOLS = {"tcp": 0, "udp": 1, "sctp": 2}


class HostPort(NamedTuple):
    """A port of the node that leads to a port of the pod."""

    host: int
    container: int
    protocol: str = "tcp"


class Pod(NamedTuple):
    """A sandbox as it was asked for, and its identity."""

    sandbox: str
    config: Message


class Ran(NamedTuple):
    """What a command in a container gave."""

    code: int
    output: str


class Cri:
    """The runtime behind a channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def is_running(self) -> bool:
        """Say whether the runtime answers."""
        try:
            self._call("Version", ())
        except grpc.RpcError:
            return False
        return True

    def is_network_ready(self) -> bool:
        """Say whether the runtime has a CNI configuration."""
        [status] = self._call("Status", ())[1]
        assert isinstance(status, bytes)
        conditions = [decode(item) for item in decode(status)[1] if isinstance(item, bytes)]
        return any(each[1] == [b"NetworkReady"] and each.get(2) == [1] for each in conditions)

    def run_pod(
        self,
        name: str,
        cgroup: str,
        ports: tuple[HostPort, ...] = (),
        annotations: Mapping[str, str] = MappingProxyType({}),
    ) -> Pod:
        """Start a pod's sandbox in the namespace `default`."""
        metadata: Message = ((1, name), (2, f"uid-{name}"), (3, "default"))
        mappings: Message = tuple(
            (5, ((1, _PROTOCOLS[port.protocol]), (2, port.container), (3, port.host))) for port in ports
        )
        notes: Message = tuple((7, ((1, key), (2, value))) for key, value in annotations.items())
        config: Message = ((1, metadata), (2, name), *mappings, *notes, (8, ((1, cgroup),)))
        [sandbox] = self._call("RunPodSandbox", ((1, config),))[1]
        return Pod(_text(sandbox), config)

    def address(self, pod: Pod) -> str:
        """Return a pod's first address, empty for none."""
        [status] = self._call("PodSandboxStatus", ((1, pod.sandbox),))[1]
        assert isinstance(status, bytes)
        network = decode(status)[5][0]
        assert isinstance(network, bytes)
        return _text(decode(network).get(1, [b""])[0])

    def start(self, pod: Pod, image: str, *command: str) -> str:
        """Start a container in a pod; return its identity."""
        words: Message = tuple((3, word) for word in command)
        config: Message = ((1, ((1, command[0].rpartition("/")[2]),)), (2, ((1, image),)), *words)
        created = self._call("CreateContainer", ((1, pod.sandbox), (2, config), (3, pod.config)))
        container = _text(created[1][0])
        self._call("StartContainer", ((1, container),))
        return container

    def exec(self, container: str, *command: str) -> Ran:
        """Run a command in a container to its end."""
        words: Message = tuple((2, word) for word in command)
        ran = self._call("ExecSync", ((1, container), *words, (3, int(_LIMIT_S))))
        code = ran.get(3, [0])[0]
        assert isinstance(code, int)
        return Ran(code, "".join(_text(part) for number in (1, 2) for part in ran.get(number, [])))

    def stop(self, pod: Pod) -> None:
        """Stop a pod: its containers and its network."""
        self._call("StopPodSandbox", ((1, pod.sandbox),))

    def remove(self, pod: Pod) -> None:
        """Remove what is left of a pod."""
        self._call("RemovePodSandbox", ((1, pod.sandbox),))

    def _call(self, method: str, message: Message) -> dict[int, list[int | bytes]]:
        call = self._channel.unary_unary(f"/runtime.v1.RuntimeService/{method}")
        return decode(call(encode(message), timeout=_LIMIT_S, wait_for_ready=True))


@contextmanager
def open_cri(path: Path) -> Iterator[Cri]:
    """Connect to a runtime's socket; calls wait until it listens."""
    with grpc.insecure_channel(f"unix://{path}") as channel:
        yield Cri(channel)


def _text(value: int | bytes) -> str:
    assert isinstance(value, bytes)
    return value.decode()
