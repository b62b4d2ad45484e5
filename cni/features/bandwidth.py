"""How fast a pod may receive and send: the capability `bandwidth` (CONVENTIONS.md) as token buckets.

    pod ◄──── host link ◄── token bucket ◄──── node       ingress: what the node sends to the pod
    pod ────► host link ──► ifb ─► token bucket ─► node   egress: what the pod sends

Only what is sent can be held back, so what a pod sends goes through a link of its own, an ifb, and on from
the host link as if nothing had happened. A bucket at the pod's own end would be the pod's to take away, and a
policer (nft `limit`) drops what a bucket delays: TCP then reaches a part of its rate.

Without the host link, from where its traffic comes, an ifb is an orphan.
"""

import hashlib
from collections.abc import Mapping

import msgspec

from cni.attachment import HOST_LINK_PREFIX, read_owner
from nodeplane.cnispec import PLACE, decode_config
from nodeplane.datapath.shaping import Bucket, build_bucket
from nodeplane.errors import ConfigError

IFB_PREFIX = "npb"
"""Every link of this prefix is nodeplane's."""

_HASH_DIGITS = 11
_FIELD = "runtimeConfig.bandwidth"
# Without regard to case, as Go decodes: containerd writes IngressRate.
_NAMES = {
    "ingressrate": "ingress_rate",
    "ingressburst": "ingress_burst",
    "egressrate": "egress_rate",
    "egressburst": "egress_burst",
}
_QUEUE_MS = 25  # as the reference plugin's
_LEAST_BURST_BYTES = 80_000
_BURST_PER_S = 100
# Beside its payload: Ethernet's header with two VLAN tags, and what the kernel loses in rounding.
_FRAME_BYTES = 64
# CRI's runtimes have no burst to pass on and send this (containerd and CRI-O: math.MaxUint32).
_NO_BURST = 2**32 - 1
_BURST_BITS = range(8 * (2**32 - 1))
_RATE_BITS = range(8, 10**15 + 1)


class Bandwidth(msgspec.Struct, frozen=True):
    """What a pod may receive (ingress) and send (egress), in bits and bits a second; 0 is without a limit."""

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


class _RuntimeConfig(msgspec.Struct, frozen=True):
    bandwidth: dict[str, msgspec.Raw] | None = None


class _Config(msgspec.Struct, frozen=True):
    runtime_config: _RuntimeConfig | None = msgspec.field(name="runtimeConfig", default=None)


class Limits(msgspec.Struct, frozen=True):
    """The buckets of a pod, None for no limit."""

    ingress: Bucket | None = None
    egress: Bucket | None = None


def decode_bandwidth(config: bytes) -> Bandwidth:
    """Decode what the runtime asks for.

    Raises:
        CniError: the configuration is not JSON.
        ConfigError: a field is wrong.
    """
    runtime = decode_config(config, _Config).runtime_config
    asked = _decode_fields((runtime.bandwidth if runtime else None) or {})
    for direction, rate, burst in (
        ("ingress", asked.ingress_rate, asked.ingress_burst),
        ("egress", asked.egress_rate, asked.egress_burst),
    ):
        field = f"{_FIELD}.{direction}"
        if rate and rate not in _RATE_BITS:
            limits = f"{_RATE_BITS[0]} to {_RATE_BITS[-1]} bits a second, or 0 for no limit"
            raise ConfigError(PLACE, f"{field}Rate", f"expected {limits}, got {rate}")
        if burst and burst not in _BURST_BITS:
            raise ConfigError(PLACE, f"{field}Burst", f"expected 0 to {_BURST_BITS[-1]} bits, got {burst}")
        if burst and not rate:
            raise ConfigError(PLACE, f"{field}Rate", "expected one beside the burst, but missing")
    return asked


def build_limits(asked: Bandwidth, mtu_bytes: int) -> Limits:
    """Build a pod's buckets."""
    return Limits(
        _bucket(asked.ingress_rate, asked.ingress_burst, mtu_bytes),
        _bucket(asked.egress_rate, asked.egress_burst, mtu_bytes),
    )


def ifb_name(identity: str) -> str:
    """Return the name of the link that a pod's packets go through.

    It follows from the container, not from the pod as the host link's: a DEL finds it whatever its CNI_ARGS,
    and an old sandbox's DEL does not find the new one's.
    """
    digest = hashlib.sha1(identity.encode(), usedforsecurity=False).hexdigest()
    return IFB_PREFIX + digest[:_HASH_DIGITS]


def find_orphans(aliases: Mapping[str, str]) -> list[str]:
    """Return the ifbs among a node's links, by name with their aliases, whose host link is not among them."""
    hosts = (alias for name, alias in aliases.items() if name.startswith(HOST_LINK_PREFIX))
    wanted = {ifb_name(read_owner(alias).identity) for alias in hosts}
    return [name for name in aliases if name.startswith(IFB_PREFIX) and name not in wanted]


def _decode_fields(fields: Mapping[str, msgspec.Raw]) -> Bandwidth:
    found: dict[str, int] = {}
    for name, value in fields.items():
        known = _NAMES.get(name.lower())
        if known is None:
            continue
        try:
            # Go takes null for nothing said.
            found[known] = msgspec.json.decode(value, type=int | None) or 0
        except msgspec.ValidationError as exc:
            text = str(exc)
            raise ConfigError(PLACE, f"{_FIELD}.{name}", text[:1].lower() + text[1:]) from exc
    return Bandwidth(**found)


def _bucket(rate_bits: int, burst_bits: int, mtu_bytes: int) -> Bucket | None:
    if not rate_bits:
        return None
    if 0 < burst_bits < _NO_BURST:
        # A packet that is larger than the bucket would never get through.
        burst_bytes = max(burst_bits // 8, mtu_bytes + _FRAME_BYTES)
    else:
        # What TCP hands down at once, 64 KiB with the headers of its packets; of a fast link more, so that it
        # needs no timer more often than every 10 ms.
        burst_bytes = max(rate_bits // 8 // _BURST_PER_S, _LEAST_BURST_BYTES)
    return build_bucket(rate_bits, burst_bytes, _QUEUE_MS)
