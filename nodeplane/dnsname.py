"""The names that Kubernetes takes from the DNS (RFC 1123): a label, and a subdomain of labels."""

import re

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")


def is_label(text: str) -> bool:
    """Say whether a text is a DNS label: up to 63 lower case letters, digits and '-'."""
    return _LABEL.fullmatch(text) is not None


def is_subdomain(text: str) -> bool:
    """Say whether a text is a DNS subdomain name: labels joined by dots, up to 253 characters."""
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None
