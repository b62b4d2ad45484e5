"""The network configuration on stdin: JSON as a plugin's own struct.

Every error names the place and the field.
"""

import re
from typing import TypeVar

import msgspec

from nodeplane.cnispec.error import CniError, ErrorCode
from nodeplane.errors import ConfigError
from nodeplane.json_decoder import decode_json

T = TypeVar("T")

# The place that a ConfigError about stdin names.
PLACE = "network configuration"

# msgspec's words; the field belongs where all other messages have it.
_MISSING = re.compile(r"Object missing required field `(.*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")


def decode_config(config: bytes, kind: type[T]) -> T:
    """Decode the network configuration as a plugin's own struct; fields that it lacks are ignored.

    Raises:
        CniError: it is not JSON (code 6).
        ConfigError: a field is missing or of the wrong type.
    """
    try:
        return decode_json(config, kind)
    except msgspec.ValidationError as exc:
        expected, _, where = str(exc).partition(" - at `$")
        field = where.rstrip("`").lstrip(".")
        missing = _MISSING.fullmatch(expected)
        if missing:
            raise ConfigError(PLACE, f"{field}.{missing[1]}".lstrip("."), "expected, but missing") from exc
        unknown = _UNKNOWN.fullmatch(expected)
        if unknown:
            raise ConfigError(PLACE, f"{field}.{unknown[1]}".lstrip("."), "expected no such field") from exc
        raise ConfigError(PLACE, field, expected[:1].lower() + expected[1:]) from exc
    except msgspec.DecodeError as exc:
        raise CniError(ErrorCode.DECODING_FAILURE, f"{PLACE} is not JSON", str(exc)) from exc
    except UnicodeDecodeError as exc:
        raise CniError(ErrorCode.DECODING_FAILURE, f"{PLACE} is not UTF-8", exc.reason) from exc
