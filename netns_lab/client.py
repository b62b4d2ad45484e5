"""The built-in client: resolve a name, connect to it again and again, say what came back.

It runs inside a pod as any program would, through the C library's resolver and the pod's resolv.conf, so
that a name and a connection take the whole way. Imports little, like the workload.
"""

import json
import socket
import sys
import time
from typing import Any

_CONNECT_TIMEOUT_S = 10.0
_LIMIT_S = 60.0


def resolve(name: str) -> list[str]:
    """Return the IPv4 addresses of a name, sorted; none is an empty list."""
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except socket.gaierror:
        return []
    return sorted({str(entry[4][0]) for entry in found})


def connect(address: str, port: int) -> dict[str, Any]:
    """Connect once, send one line, and return the source port used and the answer, or the error."""
    try:
        with socket.create_connection((address, port), timeout=_CONNECT_TIMEOUT_S) as connection:
            source_port = connection.getsockname()[1]
            connection.sendall(b"who is there\n")
            answer = json.loads(connection.makefile("rb").readline() or b"{}")
    except (OSError, ValueError) as exc:
        return {"error": str(exc)}
    return {"sourcePort": source_port, "answer": answer}


def main(arguments: list[str]) -> None:
    """Take NAME PORT COUNT; print one JSON document with the addresses and each connection."""
    name, port, count = arguments[0], int(arguments[1]), int(arguments[2])
    addresses = resolve(name)
    connections: list[dict[str, Any]] = []
    deadline = time.monotonic() + _LIMIT_S
    for _ in range(count if addresses else 0):
        late = time.monotonic() > deadline
        connections.append({"error": "not tried: out of time"} if late else connect(addresses[0], port))
    json.dump({"name": name, "addresses": addresses, "connections": connections}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
