"""The kernel's edges, open, and the proxier that is built over them: which mode it is, is settled here."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, nullcontext
from functools import cached_property

from kubeproxy.backend import Backend
from kubeproxy.config.settings import Settings
from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.flows.flow_cleaner import FlowCleaner
from kubeproxy.host_settings import apply_sysctls
from kubeproxy.ipvs.address_link import AddressLink
from kubeproxy.ipvs.availability import open_ipvs
from kubeproxy.ipvs.balancer import Balancer
from kubeproxy.ipvs.drain import DEFAULT_LIMIT_S, Drain
from kubeproxy.ipvs.family import IpvsFamily
from kubeproxy.ipvs.kernel_settings import apply_settings, apply_timeouts
from kubeproxy.ipvs.layout import LINK
from kubeproxy.ipvs.leftover import Leftover
from kubeproxy.proxier import Proxier
from kubeproxy.rule_inputs import Options
from kubeproxy.rules.addresses import FAMILIES, Network
from kubeproxy.rules.layout import TABLE
from kubeproxy.rules.rule_options import RuleOptions
from nodeplane.datapath.conntrack.table import KernelConntrack
from nodeplane.datapath.ipvs.table import KernelIpvs
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.nft.monitor import TableMonitor
from nodeplane.datapath.routing import KernelRouting
from nodeplane.datapath.rtnl import Rtnl, open_rtnl
from nodeplane.datapath.sysctl import KernelSysctls
from nodeplane.errors import KernelNotFoundError, SetupError

log = logging.getLogger(__name__)


class KernelEdges:
    """What this process has open of the kernel's; closed with `stack`.

    Raises:
        SetupError: the kernel can't do the mode that the settings ask for.
    """

    def __init__(
        self, stack: ExitStack, node_name: str, settings: Settings, *, terminate_removed: bool
    ) -> None:
        self._stack = stack
        self._node_name = node_name
        self._settings = settings
        self._terminate_removed = terminate_removed
        self._ipvs = _choose_ipvs(settings)
        if self._ipvs is not None:
            stack.enter_context(self._ipvs)
        self._tables = {family: stack.enter_context(KernelTable(family, TABLE)) for family in FAMILIES}
        self._conntrack = stack.enter_context(KernelConntrack())
        self._routing = stack.enter_context(KernelRouting())

    @property
    def is_ipvs(self) -> bool:
        """Whether the mode is ipvs."""
        return self._ipvs is not None

    @cached_property
    def _rtnl(self) -> Rtnl:
        return self._stack.enter_context(open_rtnl())

    def apply_settings(self) -> None:
        """Set what the mode needs of the machine; what can't be set is named in the log."""
        _apply_settings(self._settings, self._ipvs)

    def build_proxier(self, rules: Options) -> Proxier:
        """Build the proxier for rules of these options."""
        return Proxier(
            self._node_name,
            [self._build_family(family, rules[family]) for family in self._tables],
            self._settings.node_ips,
            allows_external_ips=self._settings.allows_external_ips,
            leftover=None if self.is_ipvs else self._find_leftover(),
        )

    def open_watch(self) -> TableMonitor:
        """Begin to listen for others' writes to our tables."""
        ports = {table.port for table in self._tables.values()}
        return TableMonitor([(family, TABLE) for family in self._tables], ports)

    def _build_family(self, family: Family, options: RuleOptions) -> Backend:
        cleaner = FlowCleaner(
            family, self._conntrack, self._routing, options, terminate_removed=self._terminate_removed
        )
        table = self._tables[family]
        if self._ipvs is None:
            return FamilyProxier(family, table, options, cleaner)
        settings = self._settings.ipvs
        balancer = Balancer(
            family,
            self._ipvs,
            AddressLink(family, self._rtnl),
            excluded=settings.excluded,
            drain=Drain(0 if self._terminate_removed else DEFAULT_LIMIT_S),
            default_scheduler=settings.scheduler,
        )
        return IpvsFamily(family, table, balancer, options, scheduler=settings.scheduler, cleaner=cleaner)

    def _find_leftover(self) -> Leftover | None:
        """Return what another mode has left; without its link, IPVS is not even asked for."""
        if self._rtnl.find_link(LINK) is None:
            return None
        try:
            ipvs = self._stack.enter_context(KernelIpvs())
        except KernelNotFoundError:
            return None
        log.info("mode ipvs was here, what it left goes when its connections have ended link=%s", LINK)
        balancers = [
            Balancer(family, ipvs, AddressLink(family, self._rtnl), excluded=self._settings.ipvs.excluded)
            for family in FAMILIES
        ]
        return Leftover(balancers, AddressLink("ip", self._rtnl))


def set_up_machine(settings: Settings) -> None:
    """Set what takes more rights than a proxy that runs needs: sysctls, and the modules of mode ipvs.

    Raises:
        SetupError: the kernel can't do the mode that the settings ask for.
    """
    ipvs = _choose_ipvs(settings)
    with nullcontext() if ipvs is None else ipvs:
        _apply_settings(settings, ipvs)


def clean_up_ipvs(excluded: Iterable[Network] = ()) -> Iterator[str]:
    """Remove what mode ipvs has written, if it has, and say what."""
    with open_rtnl() as rtnl:
        link = AddressLink("ip", rtnl)
        if rtnl.find_link(LINK) is None:
            return
        try:
            ipvs = KernelIpvs()
        except KernelNotFoundError:
            ipvs = None
        if ipvs is not None:
            with ipvs:
                for family in FAMILIES:
                    balancer = Balancer(family, ipvs, AddressLink(family, rtnl), excluded=excluded)
                    number = balancer.delete_all()
                    if number:
                        yield f"removed {number} virtual services {family}"
        if link.delete():
            yield f"removed link {LINK}"


def _apply_settings(settings: Settings, ipvs: KernelIpvs | None) -> None:
    sysctls = KernelSysctls()
    apply_sysctls(sysctls, settings.conntrack)
    if ipvs is not None:
        apply_settings(sysctls, os.uname().release)
        apply_timeouts(ipvs, settings.ipvs.timeouts)


def _choose_ipvs(settings: Settings) -> KernelIpvs | None:
    """Return IPVS where the mode is ipvs, or where it is auto and the kernel can do it."""
    if settings.mode == "nftables":
        return None
    try:
        return open_ipvs(settings.ipvs.scheduler)
    except SetupError as exc:
        if settings.mode == "ipvs":
            raise
        log.warning("mode auto is nftables here error=%r", str(exc))
        return None
