"""The configuration file of cni-agent: YAML with the datastore that nodeplane-cni uses too."""

import re
from pathlib import Path

import msgspec

from ipam.config import DEFAULT_DATASTORE
from ipam.datastore_url import decode_datastore
from nodeplane.errors import ConfigError
from nodeplane.runtime.listen import ListenAddress, parse_listen_address
from nodeplane.yamldoc import YamlDocument, read_documents

# Calico's kube-controllers, whose metrics of addresses ours are, listen on 9094.
_DEFAULT_METRICS = "127.0.0.1:9094"
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class _File(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    datastore: str = DEFAULT_DATASTORE
    gc_interval: str = "1m"
    gc_grace: str = "5m"
    gc_all_gone: bool = False
    metrics_bind_address: str = _DEFAULT_METRICS


class AgentConfig(msgspec.Struct, frozen=True):
    """What cni-agent needs to know beyond its command line.

    Attributes:
        datastore: The URL that the plugin uses too.
        gc_interval_s: Seconds between two looks for addresses that were left behind; 0 for none at all.
        gc_grace_s: For how long an address must have been left behind before it is freed.
        gc_all_gone: Free also when not one namespace of this boot can be seen.
        metrics: Where the metrics are shown; None for nowhere.
    """

    datastore: str = DEFAULT_DATASTORE
    gc_interval_s: float = 60.0
    gc_grace_s: float = 300.0
    gc_all_gone: bool = False
    metrics: ListenAddress | None = ListenAddress("127.0.0.1", 9094)


def read_agent_config(path: Path) -> AgentConfig:
    """Read and check a configuration file.

    Raises:
        ConfigError: it can't be read, or a field is wrong; names file, line and field.
    """
    documents = read_documents(path)
    if len(documents) != 1:
        raise ConfigError(str(path), "", f"expected one YAML document, got {len(documents)}")
    document = documents[0]
    config = document.convert(_File)
    # The check itself is ipam's; the line is the document's.
    place = document.error(("datastore",), "").place
    decode_datastore(config.datastore, place, "datastore")
    return AgentConfig(
        datastore=config.datastore,
        gc_interval_s=_decode_duration(document, "gcInterval", config.gc_interval),
        gc_grace_s=_decode_duration(document, "gcGrace", config.gc_grace),
        gc_all_gone=config.gc_all_gone,
        metrics=_decode_address(document, config.metrics_bind_address),
    )


def _decode_duration(document: YamlDocument, field: str, text: str) -> float:
    """Decode a duration of one or more parts such as `1m30s`."""
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not text or "".join(number + unit for number, unit in parts) != text:
        raise document.error((field,), "expected a duration such as 30s, 5m or 1h")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _decode_address(document: YamlDocument, text: str) -> ListenAddress | None:
    if not text:
        return None
    try:
        return parse_listen_address(text)
    except ValueError as exc:
        raise document.error(("metricsBindAddress",), str(exc)) from exc
