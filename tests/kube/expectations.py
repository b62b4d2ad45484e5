"""What is expected of fields that several kinds have."""

from ipaddress import IPv4Address
from typing import Any

LABEL = "expected a DNS label (lower case, digits, '-')"

NOWHERE = str(IPv4Address(0))

REACHABLE = "expected an address that other nodes can reach, not unspecified, loopback or link-local"


def port(number: int, name: str = "", **fields: Any) -> dict[str, Any]:
    """Build a Service's port as it is on the wire."""
    return {"port": number, "name": name, **fields}
