"""Whether a plugin's reply is one: held against JSON schemas of what the CNI SPEC says of it.

The SPEC is prose; `cni_result.schema.json` and `cni_error.schema.json` beside this file are our reading of
it. Fields that it does not name are refused: they are misspelt, or of a later version than the reply's.
"""

import json
from functools import cache
from importlib.resources import files
from ipaddress import ip_address, ip_interface
from typing import Any, cast

from nodeplane.errors import ProtocolError


def check_result(reply: bytes, version: str) -> dict[str, Any]:
    """Return the result that ADD was answered with.

    Raises:
        ProtocolError: it is none, or not of this version; names the field.
    """
    result = _decode(reply, "result")
    if result.get("cniVersion") != version:
        raise ProtocolError(f"cniVersion: expected {version!r}, got {result.get('cniVersion')!r}")
    count = len(result.get("interfaces", ()))
    for index, ip in enumerate(result.get("ips", ())):
        if ip.get("interface", 0) >= max(count, 1):
            raise ProtocolError(
                f"ips[{index}].interface: expected an index of interfaces, got {ip['interface']}"
            )
    return result


def check_error(reply: bytes) -> dict[str, Any]:
    """Return the error that a plugin ended with.

    Raises:
        ProtocolError: it is none; names the field.
    """
    return _decode(reply, "error")


def _decode(reply: bytes, kind: str) -> dict[str, Any]:
    try:
        value = json.loads(reply)
    except ValueError as exc:
        raise ProtocolError(f"expected JSON: {exc}") from exc
    from jsonschema.exceptions import best_match

    problem = best_match(_validator(kind).iter_errors(value))
    if problem is not None:
        field = problem.json_path.removeprefix("$").removeprefix(".")
        raise ProtocolError(f"{field}: {problem.message}" if field else problem.message)
    return cast("dict[str, Any]", value)


@cache
def _validator(kind: str) -> Any:
    # Late: 0.1 s, which other commands need not pay.
    from jsonschema import Draft202012Validator, FormatChecker

    formats = FormatChecker(())
    formats.checks("cidr", ValueError)(lambda text: not isinstance(text, str) or _is_cidr(text))
    formats.checks("address", ValueError)(lambda text: not isinstance(text, str) or bool(ip_address(text)))
    schema = json.loads(files("netns_lab").joinpath(f"cni_{kind}.schema.json").read_text())
    return Draft202012Validator(schema, format_checker=formats)


def _is_cidr(text: str) -> bool:
    # Host bits may be set, and the length must be there.
    return "/" in text and bool(ip_interface(text))
