"""What a pod is told beside its addresses: gateways, routes and the resolver, from the configuration."""

import msgspec

from ipam.config import NetworkConfig, Supply, build_routes
from ipam.model import AssignedIp, Assignment
from ipam.resolv_conf import read_resolv_conf
from nodeplane.cniresult import Dns, Ip, Result, Route


class Answer(msgspec.Struct, frozen=True):
    """The parts of a result that do not depend on which address is given."""

    supply: Supply
    routes: tuple[Route, ...] = ()
    dns: Dns = Dns()

    def render(self, assignment: Assignment) -> Result:
        """Build the result of ADD."""
        return Result(
            ips=tuple(self._show(item) for item in assignment.ips), routes=self.routes, dns=self.dns
        )

    def _show(self, item: AssignedIp) -> Ip:
        gateway = self.supply.gateways.get(item.pool, self.supply.gateway)
        if gateway is not None and gateway.version != item.address.version:
            gateway = None
        return Ip(item.address, gateway)


def build_answer(config: NetworkConfig, supply: Supply) -> Answer:
    """Build what is said with any address: before one is taken, so that an error here costs none.

    Raises:
        ConfigError: a route is not valid, or the resolver's file can't be read.
    """
    ipam = config.ipam
    dns = read_resolv_conf(ipam.resolv_conf, "ipam.resolvConf") if ipam.resolv_conf else Dns()
    return Answer(supply, build_routes(ipam.routes), dns)
