"""STATUS: whether an ADD could be done now (SPEC section 2, STATUS).

50   it could not
51   nor could it, and pods that are there may not reach everything
"""

from cni.attachment import HOST_LINK_PREFIX
from cni.ipam_delegate import call_ipam
from cni.network_config import decode_network
from cni.wiring.plan import GATEWAY, build_gateway_route
from ipam.errors import CNI_CODES
from nodeplane.cnispec import CniError, ErrorCode, Request, cni_error
from nodeplane.datapath.rtnl import ROUTE_PROTOCOL, Rtnl, open_rtnl
from nodeplane.errors import KernelError, KernelNotFoundError, NodeplaneError

_PASSED_ON = {
    ErrorCode.INCOMPATIBLE_VERSION,
    ErrorCode.INVALID_CONFIG,
    ErrorCode.NOT_AVAILABLE,
    ErrorCode.NOT_AVAILABLE_LIMITED,
}


def report_status(request: Request) -> None:
    """Return if an ADD could be done.

    Raises:
        CniError: 50 or 51; or that of a configuration that no waiting cures.
        ConfigError: a field of the configuration is wrong.
    """
    network = decode_network(request.config)
    try:
        with open_rtnl() as host:
            _require_rights(host)
            is_limited = _lacks_gateway(host)
    except KernelError as exc:
        raise CniError(ErrorCode.NOT_AVAILABLE, "the kernel does not let us work", str(exc)) from exc
    if is_limited:
        raise CniError(
            ErrorCode.NOT_AVAILABLE_LIMITED,
            f"the node lost its route to the pods' gateway {GATEWAY}",
            f"expected {build_gateway_route(is_arp_strict=False)}; cni-agent or an ADD restores it",
        )
    try:
        call_ipam(network.ipam.type, "STATUS", request)
    except NodeplaneError as exc:
        error = cni_error(exc, CNI_CODES)
        if error.code in _PASSED_ON:
            raise error from exc
        raise CniError(
            ErrorCode.NOT_AVAILABLE, f"IPAM plugin {network.ipam.type} is not available", str(error)
        ) from exc


def _require_rights(host: Rtnl) -> None:
    """Try a change that needs CAP_NET_ADMIN, of a link that nobody has (net/core/rtnetlink.c asks first).

    Raises:
        KernelPermissionError: we lack the right.
    """
    try:
        host.set_up(HOST_LINK_PREFIX)
    except KernelNotFoundError:
        return


def _lacks_gateway(host: Rtnl) -> bool:
    """Say whether pods of IPv4 are there and the route to their gateway is not."""
    names = {name for name in host.links() if name.startswith(HOST_LINK_PREFIX)}
    routes = host.routes(ROUTE_PROTOCOL)
    has_pods = any(route.link in names for route in routes)
    return has_pods and not any(
        route.link == "lo" and route.destination.network_address == GATEWAY for route in routes
    )
