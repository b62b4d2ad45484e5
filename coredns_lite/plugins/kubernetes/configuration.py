"""The plugin's lines of a Corefile, decoded; what they mean is on its page, the package's docstring."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from coredns_lite.corefile.parser import Directive
from coredns_lite.fallthrough import decode_fallthrough
from coredns_lite.options import decode_duration, decode_number, one_value, refuse_args
from coredns_lite.plugins.kubernetes.facts import Scope
from coredns_lite.plugins.kubernetes.label_selector import (
    LabelSelector,
    LabelSelectorError,
    parse_label_selector,
)
from coredns_lite.plugins.kubernetes.reverse_zone import is_reverse
from coredns_lite.plugins.kubernetes.zone import ZoneOptions
from coredns_lite.zones import decode_zones
from nodeplane.dnsname import is_label

DEFAULT_TTL_S = 5
MAX_TTL_S = 3600
DEFAULT_STARTUP_TIMEOUT_S = 5.0
_POD_MODES = ("disabled", "insecure", "verified")


class Origin(msgspec.Struct, frozen=True):
    """Where a cluster's objects come from; with nothing said, the API server of the pod around us."""

    manifests: Path | None = None
    kubeconfig: Path | None = None
    context: str | None = None
    endpoint: str | None = None
    tls: tuple[str, str, str] | None = None
    """Files: our certificate, its key, the server's authority."""


class Kubernetes(msgspec.Struct, frozen=True):
    """The plugin's lines, decoded; of names unknown in `fall_zones` the next plugin is asked."""

    zones: tuple[str, ...]
    origin: Origin = Origin()
    scope: Scope = Scope()
    shown: ZoneOptions = ZoneOptions()
    fall_zones: tuple[str, ...] = ()
    startup_timeout_s: float = DEFAULT_STARTUP_TIMEOUT_S

    @property
    def primary(self) -> str:
        """The zone of all names; the reverse zones lead into it."""
        return next(zone for zone in self.zones if not is_reverse(zone))


def decode(directive: Directive, zones: tuple[str, ...]) -> Kubernetes:
    """Decode the plugin's lines; no zone means those of the block.

    Raises:
        ConfigError: what is wrong; names file, line and token.
    """
    own = [zone for token in directive.args for zone in decode_zones(token)]
    served = tuple(dict.fromkeys(own)) or zones
    if all(map(is_reverse, served)):
        raise directive.name.error("expected a zone that is no reverse zone among its zones")
    options: dict[str, Directive] = {}
    for option in directive.block or ():
        name = option.name.text
        if name not in _DECODERS:
            raise option.name.error(f"expected an option of kubernetes: {', '.join(sorted(_DECODERS))}")
        if name in options:
            raise option.name.error("expected each option once")
        options[name] = option
    values = {name: _DECODERS[name](option) for name, option in options.items()}
    _check_together(options)
    return Kubernetes(
        served,
        _build_origin(values),
        Scope(
            namespaces=values.get("namespaces", frozenset()),
            namespace_labels=values.get("namespace_labels"),
            labels=values.get("labels"),
            has_endpoints="noendpoints" not in values,
            has_pods=values.get("pods") == "verified",
            has_pod_names="endpoint_pod_names" in values,
        ),
        ZoneOptions(
            ttl_s=values.get("ttl", DEFAULT_TTL_S),
            pods=values.get("pods", "disabled"),
            ignores_empty="ignore" in values,
        ),
        values.get("fallthrough", ()),
        values.get("startup_timeout", DEFAULT_STARTUP_TIMEOUT_S),
    )


def _build_origin(values: Mapping[str, Any]) -> Origin:
    kubeconfig, context = values.get("kubeconfig", (None, None))
    return Origin(values.get("manifests"), kubeconfig, context, values.get("endpoint"), values.get("tls"))


def _check_together(options: Mapping[str, Directive]) -> None:
    """Refuse options that contradict one another."""
    for first, second in (
        ("manifests", "kubeconfig"),
        ("manifests", "endpoint"),
        ("kubeconfig", "endpoint"),
        ("namespaces", "namespace_labels"),
        # Without endpoints every Service is empty.
        ("noendpoints", "ignore"),
        ("noendpoints", "endpoint_pod_names"),
    ):
        if first in options and second in options:
            raise options[second].name.error(f"expected not both of {first} and {second}")
    if "tls" in options and "endpoint" not in options:
        raise options["tls"].name.error("expected the option endpoint with it")


def _decode_path(option: Directive) -> Path:
    return Path(one_value(option).text)


def _decode_kubeconfig(option: Directive) -> tuple[Path, str | None]:
    if len(option.args) not in {1, 2} or not all(token.text for token in option.args):
        raise option.name.error(f"expected a file and maybe a context after it, got {len(option.args)}")
    return Path(option.args[0].text), option.args[1].text if option.args[1:] else None


def _decode_endpoint(option: Directive) -> str:
    token = one_value(option)
    if not token.text.startswith(("http://", "https://")):
        raise token.error("expected an http:// or https:// URL")
    return token.text


def _decode_tls(option: Directive) -> tuple[str, str, str]:
    if len(option.args) != 3 or not all(token.text for token in option.args):
        raise option.name.error(
            f"expected three files after it, certificate, key and authority, got {len(option.args)}"
        )
    certificate, key, authority = (token.text for token in option.args)
    return certificate, key, authority


def _decode_namespaces(option: Directive) -> frozenset[str]:
    if not option.args:
        raise option.name.error("expected at least one namespace after it")
    for token in option.args:
        if not is_label(token.text):
            raise token.error("expected a namespace (lower case, digits, '-')")
    return frozenset(token.text for token in option.args)


def _decode_labels(option: Directive) -> LabelSelector:
    if not option.args:
        raise option.name.error("expected a label selector after it")
    try:
        return parse_label_selector(" ".join(token.text for token in option.args))
    except LabelSelectorError as exc:
        raise option.args[0].error(str(exc)) from exc


def _decode_pods(option: Directive) -> str:
    token = one_value(option)
    if token.text not in _POD_MODES:
        raise token.error(f"expected one of {', '.join(_POD_MODES)}")
    return token.text


def _decode_flag(option: Directive) -> bool:
    refuse_args(option)
    return True


def _decode_ignore(option: Directive) -> bool:
    token = one_value(option)
    if token.text != "empty_service":
        raise token.error("expected empty_service")
    return True


def _decode_ttl(option: Directive) -> int:
    return decode_number(one_value(option), "seconds", 0, MAX_TTL_S)


_DECODERS: Mapping[str, Callable[[Directive], Any]] = {
    "endpoint": _decode_endpoint,
    "endpoint_pod_names": _decode_flag,
    "fallthrough": decode_fallthrough,
    "ignore": _decode_ignore,
    "kubeconfig": _decode_kubeconfig,
    "labels": _decode_labels,
    "manifests": _decode_path,
    "namespace_labels": _decode_labels,
    "namespaces": _decode_namespaces,
    "noendpoints": _decode_flag,
    "pods": _decode_pods,
    "startup_timeout": lambda option: decode_duration(one_value(option)),
    "tls": _decode_tls,
    "ttl": _decode_ttl,
}
