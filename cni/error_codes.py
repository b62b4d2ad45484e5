"""Our own error codes (SPEC section 5: 100 and above are a plugin's)."""

INTERFACE_EXISTS = 101
"""ADD: the pod has an interface of that name which is not ours."""

NOT_AS_ADDED = 102
"""CHECK: what is there differs from what ADD made. nodeplane-ipam uses the number for the same."""

NO_IPV6 = 103
"""ADD: the pod got an IPv6 address, and IPv6 is off on this node."""

ADDRESS_EXISTS = 104
"""ADD: the address that the pod got is the node's own, or on another interface of the pod."""

POD_HAS_INTERFACE = 105
"""ADD: the pod has an interface of ours already, by another name."""

HOST_PORT_TAKEN = 106
"""ADD: another pod has a host port that this one asks for."""
