"""In which form the client wants its answer: plain JSON, a table, or metadata alone (the Accept header)."""

from typing import Literal

import msgspec

from netns_lab.apiserver.status import not_acceptable

Form = Literal["object", "table", "metadata"]

_FORMS: dict[str, Form] = {
    "": "object",
    "Table": "table",
    "PartialObjectMetadata": "metadata",
    "PartialObjectMetadataList": "metadata",
}


class Wanted(msgspec.Struct, frozen=True):
    """The form, and the version of meta.k8s.io that tables and metadata are told in."""

    form: Form = "object"
    version: str = "v1"


def choose_form(accept: str) -> Wanted:
    """Choose the first form of an Accept header that this server can give.

    Raises:
        StatusError: 406, there is none.
    """
    for entry in accept.split(",") if accept.strip() else ():
        media_type, *parameters = (part.strip() for part in entry.split(";"))
        options = dict(part.partition("=")[::2] for part in parameters)
        if media_type not in {"application/json", "application/*", "*/*"}:
            continue
        form = _FORMS.get(options.get("as", ""))
        if form is None or options.get("g", "meta.k8s.io") != "meta.k8s.io":
            continue
        version = options.get("v", "v1")
        if form == "object" or version in {"v1", "v1beta1"}:
            return Wanted(form, version if form != "object" else "v1")
    if accept.strip():
        raise not_acceptable()
    return Wanted()
