"""What is published to the elements that publish it."""

from collections.abc import Iterator

from kubeproxy.layout import (
    FRONTENDS,
    HAIRPINS,
    MAX_ENDPOINTS,
    REJECT,
    SLOTS,
    encode_endpoint,
    encode_frontend,
    encode_hairpin,
    encode_slot,
    pool_for,
)
from kubeproxy.service_port import ServicePort

ElementKey = tuple[str, bytes]
"""Map name and encoded key."""


def build_elements(port: ServicePort, number: int) -> Iterator[tuple[ElementKey, bytes]]:
    """Yield the elements of one service port whose pool has this number.

    Endpoints beyond MAX_ENDPOINTS are left out: every connection still finds one.
    """
    endpoints = port.endpoints[:MAX_ENDPOINTS]
    # Refuse, not drop: a client of a Service without endpoints must fail at once.
    pool = pool_for(number, len(endpoints)) if endpoints else REJECT
    for frontend in port.frontends:
        yield (FRONTENDS, encode_frontend(frontend)), pool.encode()
    for index, endpoint in enumerate(endpoints):
        yield (SLOTS, encode_slot(pool, index)), encode_endpoint(endpoint)
    for address in port.local:
        yield (HAIRPINS, encode_hairpin(address)), b""
