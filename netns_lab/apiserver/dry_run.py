"""What a request says about being a dry run (metav1 validation.ValidateDryRun)."""

import json
from collections.abc import Sequence

import msgspec

from netns_lab.apiserver.status import Cause, StatusError

_ALL = "All"


def parse_dry_run(options: str, values: Sequence[str]) -> bool:
    """Say whether nothing is to be written; `options` is the kind that the values are from.

    Raises:
        StatusError: 422, a value is not known. To take it for none would write what nobody wanted written.
    """
    if all(value == _ALL for value in values):
        return bool(values)
    shown = json.dumps(list(values), separators=(",", ":"))
    cause = Cause(
        "FieldValueNotSupported", f'Unsupported value: {shown}: supported values: "{_ALL}"', "dryRun"
    )
    details = {"group": "meta.k8s.io", "kind": options, "causes": [msgspec.to_builtins(cause)]}
    message = f'{options}.meta.k8s.io "" is invalid: {cause.field}: {cause.message}'
    raise StatusError(422, "Invalid", message, details)
