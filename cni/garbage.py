"""GC: undo what is there for attachments of a network that the runtime no longer has."""

from collections.abc import Callable
from functools import partial

import msgspec

from cni.attachment import HOST_LINK_PREFIX, identity_on_link, read_owner
from cni.call_lock import find_socket
from cni.features.feature import FEATURES
from cni.ipam_delegate import call_ipam
from cni.network_config import decode_ipam_type
from cni.wiring.apply import remove_links
from ipam.errors import CNI_CODES
from nodeplane.cnispec import PLACE, CniError, Request, cni_error, decode_config
from nodeplane.datapath.rtnl import Rtnl, open_rtnl
from nodeplane.errors import ConfigError, NodeplaneError

_FIELD = "cni.dev/valid-attachments"


class _Attachment(msgspec.Struct, frozen=True):
    container_id: str = msgspec.field(name="containerID")
    interface: str = msgspec.field(name="ifname")


class _GcConfig(msgspec.Struct, frozen=True):
    # Go writes an empty list as null.
    valid: tuple[_Attachment, ...] | msgspec.UnsetType | None = msgspec.field(
        name=_FIELD, default=msgspec.UNSET
    )


def collect(request: Request) -> None:
    """Remove links, what features made, and addresses of every attachment that is not valid.

    Whatever fails does not hold up the rest (SPEC section 2, GC).

    Raises:
        ConfigError: the valid ones are not told; without them all would be garbage.
        CniError: one or several steps failed; all are told.
    """
    given = decode_config(request.config, _GcConfig).valid
    if given is msgspec.UNSET:
        raise ConfigError(PLACE, _FIELD, "expected, but missing")
    valid = {(item.container_id, item.interface) for item in given or ()}
    errors: list[NodeplaneError] = []
    with open_rtnl() as host:
        steps: list[Callable[[], None]] = [
            partial(remove_links, host, [name]) for name in garbage_links(host, request.network, valid)
        ]
        folder = find_socket(request.environ).parent
        steps += [partial(feature.collect, request.network, valid, folder) for feature in reversed(FEATURES)]
        steps.append(lambda: call_ipam(decode_ipam_type(request.config), "GC", request))
        for step in steps:
            _try(errors, step)
    if errors:
        raise _together([cni_error(error, CNI_CODES) for error in errors])


def garbage_links(host: Rtnl, network: str, valid: set[tuple[str, str]]) -> list[str]:
    """Return the names of the host's links of a network that are of no valid attachment.

    And of those that an ADD had only begun when it was killed: they have no alias yet, and are down; GC holds
    off all others, so it is nobody's work of right now. A link that is up and does not say its network was
    made before aliases said it, or somebody took its alias: it is left, and goes with its pod's namespace.
    """
    kept = {identity_on_link(*attachment) for attachment in valid}
    found = []
    for link in host.links().values():
        if link.name.startswith(HOST_LINK_PREFIX):
            owner = read_owner(link.alias)
            is_only_begun = not link.alias and not link.is_up
            if is_only_begun or (owner.network == network and owner.identity not in kept):
                found.append(link.name)
    return found


def _try(errors: list[NodeplaneError], step: Callable[[], None]) -> None:
    try:
        step()
    except NodeplaneError as exc:
        errors.append(exc)


def _together(errors: list[CniError]) -> CniError:
    if len(errors) == 1:
        return errors[0]
    texts = "; ".join(str(error) for error in errors)
    return CniError(errors[0].code, f"{len(errors)} steps of GC failed", texts)
