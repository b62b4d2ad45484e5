"""Durations as people write them in cni-agent's configuration."""

import re

from nodeplane.yamldoc import FieldPath, YamlDocument

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def decode_duration(document: YamlDocument, path: FieldPath, text: str) -> float:
    """Decode a duration of one or more parts such as `1m30s`; `0` is none.

    Raises:
        ConfigError: it is not one.
    """
    if text == "0":
        return 0.0
    parts = _PART.findall(text)
    if not text or "".join(number + unit for number, unit in parts) != text:
        raise document.error(path, "expected a duration such as 30s, 5m or 1h")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
