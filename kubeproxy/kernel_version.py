"""Whether this kernel is new enough for the rules: 5.13, as upstream asks for (k/k pkg/proxy/nftables).

Older ones take the rules and go wrong: a set that is written while it is looked into was not safe in all of
them. Distributions carry mends back, so whoever knows better says so in upstream's variable.
"""

import re

from nodeplane.errors import SetupError

SKIP_CHECK = "KUBE_PROXY_NFTABLES_SKIP_KERNEL_VERSION_CHECK"
"""The environment variable that, with any value, lets an older kernel pass."""

_OLDEST = (5, 13)


def expect_kernel(release: str) -> None:
    """Check a kernel release such as 6.1.0-18-amd64; one that says nothing of its version passes.

    Raises:
        SetupError: it is too old.
    """
    found = re.match(r"(\d+)\.(\d+)", release)
    if found and (int(found[1]), int(found[2])) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise SetupError(
            f"kernel {release}: mode nftables needs {oldest} or newer ({SKIP_CHECK}=1 to try all the same)"
        )
