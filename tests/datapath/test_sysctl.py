"""Kernel settings: real ones in a private namespace, and the fake held to the same answers."""

from collections.abc import Iterator

import pytest

from nodeplane.datapath import netns, sysctl
from nodeplane.datapath.sysctl import FakeSysctls, KernelSysctls, Sysctls
from nodeplane.errors import KernelError, KernelNotFoundError
from tests.netns_fixture import namespace

FORWARD = "net.ipv4.ip_forward"


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.netns)])
def settings(request: pytest.FixtureRequest) -> Iterator[Sysctls]:
    if request.param == "fake":
        yield FakeSysctls({FORWARD: 0})
        return
    with namespace() as path:
        KernelSysctls(path).write(FORWARD, 0)
        yield KernelSysctls(path)


def test_a_setting_is_read_as_written(settings: Sysctls) -> None:
    settings.write(FORWARD, 1)

    assert settings.read(FORWARD) == "1"


def test_several_settings_up_to_the_first_that_fails(settings: Sysctls) -> None:
    settings.write_all([(FORWARD, 0), (FORWARD, 1)])
    assert settings.read(FORWARD) == "1"

    with pytest.raises(KernelNotFoundError, match=r"write sysctl net\.ipv4\.conf\.no\.forwarding=1"):
        settings.write_all([(FORWARD, 0), ("net.ipv4.conf.no.forwarding", 1), (FORWARD, 1)])
    assert settings.read(FORWARD) == "0"


def test_a_setting_that_is_not_there_is_not_found(settings: Sysctls) -> None:
    with pytest.raises(KernelNotFoundError, match=r"read sysctl net\.ipv4\.conf\.no\.forwarding"):
        settings.read("net.ipv4.conf.no.forwarding")
    with pytest.raises(KernelNotFoundError, match=r"write sysctl net\.ipv4\.conf\.no\.forwarding=1"):
        settings.write("net.ipv4.conf.no.forwarding", 1)


@pytest.mark.netns
def test_settings_are_the_namespaces_own() -> None:
    with namespace("a") as a, namespace("b") as b:
        KernelSysctls(a).write(FORWARD, 1)
        KernelSysctls(b).write(FORWARD, 0)

        with netns.inside(a):
            assert sysctl.read(FORWARD) == "1"
        with netns.inside(b):
            assert sysctl.read(FORWARD) == "0"


@pytest.mark.netns
def test_a_name_with_dots_in_it_goes_between_slashes() -> None:
    with namespace() as path, netns.inside(path):
        sysctl.write("net/ipv4/conf/lo/forwarding", 1)

        assert sysctl.read("net.ipv4.conf.lo.forwarding") == "1"


@pytest.mark.netns
def test_a_value_that_the_kernel_refuses_is_an_error() -> None:
    with namespace() as path, pytest.raises(KernelError, match=r"=many: .* \(EINVAL\)"):
        KernelSysctls(path).write(FORWARD, "many")
