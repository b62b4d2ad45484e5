"""The file of weights: names, and below each its addresses with how often they are to come first."""

import logging
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from coredns_lite.wire.names import NameFormatError, encode_name, lower_name
from nodeplane.errors import ConfigError

_MAX_WEIGHT = 255
_DEFAULT_WEIGHT = 1

Weights = Mapping[bytes, Mapping[bytes, int]]
"""Weights by name (lower-case wire) and packed address."""

log = logging.getLogger(__name__)


class WeightFile:
    """The weights as their file last had them.

    Raises:
        ConfigError: it can't be read, or is wrong.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._complaint = ""
        self._weights = self._read()

    def weight(self, name: bytes, address: bytes) -> int:
        """Return the weight of an address of a name."""
        return self._weights.get(name, {}).get(address, _DEFAULT_WEIGHT)

    def refresh(self) -> None:
        """Take the file as it is now, unless it is wrong."""
        try:
            weights = self._read()
        except ConfigError as exc:
            if self._complaint != str(exc):
                self._complaint = str(exc)
                log.error("weights not read, the last ones stay in force error=%r", self._complaint)
            return
        self._complaint = ""
        if weights != self._weights:
            self._weights = weights
            log.info("weights read file=%s names=%d", self._path, len(weights))

    def _read(self) -> Weights:
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except OSError as exc:
            raise ConfigError(str(self._path), "", f"expected a readable file: {exc.strerror}") from exc
        return parse_weights(text, str(self._path))


def parse_weights(text: str, file: str) -> Weights:
    """Parse a file of weights.

    Raises:
        ConfigError: what is wrong; names file and line.
    """
    weights: dict[bytes, dict[bytes, int]] = {}
    of_name: dict[bytes, int] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        place = f"{file}:{number}"
        try:
            if len(words) == 1:
                of_name = weights.setdefault(lower_name(encode_name(words[0])), {})
                continue
            address, weight = words
            entry = {ip_address(address).packed: _decode_weight(weight)}
        except (ValueError, NameFormatError) as exc:
            reason = "expected a name, or an address and its weight" if len(words) > 2 else str(exc)
            raise ConfigError(place, " ".join(words), reason) from exc
        if of_name is None:
            raise ConfigError(place, " ".join(words), "expected a name before the first address")
        of_name.update(entry)
    return weights


def _decode_weight(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= _MAX_WEIGHT:
        raise ValueError(f"expected a weight from 1 to {_MAX_WEIGHT}")
    return int(text)
