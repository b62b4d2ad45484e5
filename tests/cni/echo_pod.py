"""A server in a pod that says who it is and which source it saw: TCP, UDP, SCTP as far as INIT."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from tests.kubeproxy.matrix import echo

EVERYWHERE = {4: "", 6: "::"}


def echoing(
    ns: Path, name: str, port: int = echo.PORT, hosts: Mapping[int, str] = EVERYWHERE
) -> AbstractContextManager[None]:
    """Serve in a namespace until the end; where it has several addresses, at one of each family."""
    return echo.echoing([echo.Place(name, ns, *each) for each in hosts.items()], port)
