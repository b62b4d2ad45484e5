"""Which kernels are new enough."""

import pytest

from kubeproxy.kernel_version import expect_kernel
from nodeplane.errors import SetupError


@pytest.mark.parametrize(
    "release", ["5.13", "5.13.0-rc1", "5.14.0-427.el9.x86_64", "6.1.0-18-amd64", "10.0", "next"]
)
def test_new_enough(release: str) -> None:
    """From 5.13 on, and what is no version."""
    expect_kernel(release)


@pytest.mark.parametrize("release", ["5.12.19", "4.18.0-553.el8.x86_64", "5.4.0-generic"])
def test_too_old(release: str) -> None:
    """The error names the kernel, what is needed, and how to go on."""
    with pytest.raises(
        SetupError, match=rf"kernel {release}: mode nftables needs 5.13 or newer \(KUBE_PROXY_"
    ):
        expect_kernel(release)
