"""The laboratory of the matrix, its node in mode ipvs: for a kernel that has it."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from kubeproxy.backend import Backend
from kubeproxy.ipvs.address_link import AddressLink
from kubeproxy.ipvs.balancer import Balancer
from kubeproxy.ipvs.drain import Drain
from kubeproxy.ipvs.family import IpvsFamily
from kubeproxy.ipvs.kernel_settings import apply_settings
from kubeproxy.ipvs.lookup import Lookup
from kubeproxy.rule_inputs import Options
from nodeplane.datapath import netns
from nodeplane.datapath.ipvs.remembered import read_remembered
from nodeplane.datapath.ipvs.table import KernelIpvs
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.rtnl import open_rtnl
from nodeplane.datapath.sysctl import KernelSysctls
from tests.kubeproxy.ipvs.expectations import asked_rows
from tests.kubeproxy.matrix.lab import Lab, build_lab


@pytest.fixture(scope="package")
def lab() -> Iterator[Lab]:
    """Build it."""
    with ExitStack() as stack:

        def build(edges: Mapping[Family, KernelTable], options: Options) -> list[Backend]:
            # Nobody waits for the connections of rows before: a state is as it will be when they have ended.
            return [
                IpvsFamily(
                    family,
                    edge,
                    Balancer(family, ipvs, AddressLink(family, rtnl), drain=Drain(0)),
                    options[family],
                )
                for family, edge in edges.items()
            ]

        built = stack.enter_context(build_lab(build))
        with netns.inside(built.node):
            ipvs = stack.enter_context(KernelIpvs())
            rtnl = stack.enter_context(open_rtnl())
            apply_settings(KernelSysctls(), "6.1")
        built.shapes = {row.shape for row in asked_rows()}
        built.look_up = lambda: Lookup(ipvs, read_remembered())
        yield built
