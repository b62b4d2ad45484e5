"""The configuration file of cni-agent: YAML with the datastore that nodeplane-cni uses too."""

from pathlib import Path

import msgspec

from ipam.config import DEFAULT_DATASTORE, decode_datastore
from nodeplane.errors import ConfigError
from nodeplane.yamldoc import read_documents


class AgentConfig(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What cni-agent needs to know beyond its command line."""

    datastore: str = DEFAULT_DATASTORE


def read_agent_config(path: Path) -> AgentConfig:
    """Read and check a configuration file.

    Raises:
        ConfigError: it can't be read, or a field is wrong; names file, line and field.
    """
    documents = read_documents(path)
    if len(documents) != 1:
        raise ConfigError(str(path), "", f"expected one YAML document, got {len(documents)}")
    config = documents[0].convert(AgentConfig)
    # The check itself is ipam's; the line is the document's.
    place = documents[0].error(("datastore",), "").place
    decode_datastore(config.datastore, place, "datastore")
    return config
