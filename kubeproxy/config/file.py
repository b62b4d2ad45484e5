"""A configuration file to a configuration, with errors that name file, line and field."""

from pathlib import Path
from typing import Any

import msgspec

from kubeproxy.config.complete import complete
from kubeproxy.config.fields import FieldError
from kubeproxy.config.model import API_VERSION, KIND, KubeProxyConfiguration
from kubeproxy.config.settings import build_settings
from nodeplane.errors import ConfigError
from nodeplane.yamldoc import YamlDocument, read_documents


def read_config(path: Path) -> KubeProxyConfiguration:
    """Read a file, check it and fill the defaults in.

    Raises:
        ConfigError: it can't be read, or a field is wrong; names file, line, field and what is expected.
    """
    documents = read_documents(path)
    if len(documents) != 1:
        raise ConfigError(str(path), "", f"expected one YAML document, got {len(documents)}")
    return decode_config(documents[0])


def decode_config(document: YamlDocument) -> KubeProxyConfiguration:
    """Check a document and fill the defaults in; errors as those of `read_config`."""
    if not isinstance(document.value, dict):
        raise document.error((), f"expected a {KIND}")
    for name, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        if document.value.get(name) != expected:
            raise document.error((name,), f"expected {expected}")
    document = msgspec.structs.replace(document, value=_without_empty_words(document.value))
    config = complete(document.convert(KubeProxyConfiguration))
    try:
        build_settings(config)
    except FieldError as exc:
        raise document.error(exc.path, exc.expected) from exc
    return config


def _without_empty_words(value: dict[str, Any]) -> dict[str, Any]:
    """Leave out the words of which there are only some, where they are empty: to Go that is the default."""
    kept = {
        name: part for name, part in value.items() if name not in {"mode", "detectLocalMode"} or part != ""
    }
    logging = kept.get("logging")
    if isinstance(logging, dict) and logging.get("format") == "":
        kept["logging"] = {name: part for name, part in logging.items() if name != "format"}
    return kept
