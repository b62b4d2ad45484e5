"""What is given by flags: the options of a command, and the configuration that they describe.

A flag is a place in the configuration: what it may hold is checked there, and an error names the flag.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
import msgspec

from kubeproxy.config.complete import complete
from kubeproxy.config.fields import FieldError
from kubeproxy.config.flag_table import FLAGS, FLAGS_BESIDE_FILE, NO_EFFECT, Flag
from kubeproxy.config.model import KubeProxyConfiguration
from kubeproxy.config.settings import build_settings
from nodeplane.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

MIN_SYNC_INTERVAL = "--min-sync-interval"
"""Ours, in seconds: to upstream's minSyncPeriod 0 is a second, and there is no reason to wait that long."""

_TRUTHS = {"true": True, "false": False}

_NAMES = {flag.path: flag.name for flag in FLAGS}

Given = Mapping[str, Any]
"""The value of each flag that was given, by the name of the flag."""


def keep_given(context: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep an option that was given among the command's `flags`: a click callback."""
    if value is not None:
        context.params.setdefault("flags", {})[param.opts[0]] = value


def config_flags(command: F) -> F:
    """Add the flags; the command gets those that were given as `flags`."""
    for flag in reversed(FLAGS):
        # As Go's: `--x`, `--x=true` and `--x=false` are all a bool's.
        extra: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if flag.kind is bool else {}
        command = click.option(
            flag.name,
            flag.parameter,
            type=str if flag.kind in {list, dict} else flag.kind,
            expose_value=False,
            callback=keep_given,
            help=flag.help,
            hidden=flag.help == NO_EFFECT,
            **extra,
        )(command)
    return command


def config_from_flags(given: Given) -> KubeProxyConfiguration:
    """Build the configuration that flags describe, with the defaults filled in.

    Raises:
        ConfigError: a flag's value is wrong; names the flag and what is expected.
    """
    return _with_flags(KubeProxyConfiguration(), given)


def override_from_flags(config: KubeProxyConfiguration, given: Given) -> KubeProxyConfiguration:
    """Put what those flags say that count beside a file in place of what the file says.

    Raises:
        ConfigError: a flag's value is wrong.
    """
    return _with_flags(config, {name: value for name, value in given.items() if name in FLAGS_BESIDE_FILE})


def is_turned_off(given: Given, name: str) -> bool:
    """Say whether a flag was given without a value, which for an address means: none."""
    return given.get(name) == ""


def _with_flags(config: KubeProxyConfiguration, given: Given) -> KubeProxyConfiguration:
    raw = msgspec.to_builtins(config)
    for flag in FLAGS:
        if flag.name in given:
            value = given[flag.name]
            part = raw
            for step in flag.path[:-1]:
                part = part[step]
            part[flag.path[-1]] = _read(flag, value)
            # One by one, so that what msgspec refuses is this flag's.
            try:
                msgspec.convert(raw, KubeProxyConfiguration)
            except msgspec.ValidationError as exc:
                raise ConfigError(flag.name, "", _lowered(str(exc)) + f", got {value!r}") from exc
    fresh = complete(msgspec.convert(raw, KubeProxyConfiguration))
    try:
        build_settings(fresh)
    except FieldError as exc:
        name = _NAMES.get(exc.path)
        raise ConfigError(name or ".".join(exc.path), "", exc.expected) from exc
    return fresh


def _read(flag: Flag, value: Any) -> Any:
    """Return what a flag's text means.

    Raises:
        ConfigError: a word has no value.
    """
    if flag.kind not in {list, dict}:
        return value
    words = [word.strip() for word in value.split(",") if word.strip()]
    if flag.kind is list:
        return words
    found = {}
    for word in words:
        name, _, truth = word.partition("=")
        if not name or truth not in _TRUTHS:
            raise ConfigError(flag.name, "", f"expected NAME=true or NAME=false, got {word!r}")
        found[name] = _TRUTHS[truth]
    return found


def _lowered(refusal: str) -> str:
    words = refusal.partition(" - at ")[0]
    return words[:1].lower() + words[1:]
