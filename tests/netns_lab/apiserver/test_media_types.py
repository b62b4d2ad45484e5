"""Which form an Accept header asks for."""

import pytest

from netns_lab.apiserver.media_types import Wanted, choose_form
from netns_lab.apiserver.status import StatusError

TABLE = "application/json;as=Table;v={};g=meta.k8s.io"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        pytest.param("", Wanted(), id="nothing said"),
        pytest.param("*/*", Wanted(), id="anything"),
        pytest.param("application/json", Wanted(), id="JSON"),
        pytest.param("application/vnd.kubernetes.protobuf,application/json", Wanted(), id="JSON if need be"),
        pytest.param(f"{TABLE.format('v1')},application/json", Wanted("table"), id="table"),
        pytest.param(TABLE.format("v1beta1"), Wanted("table", "v1beta1"), id="table of old clients"),
        pytest.param(f"{TABLE.format('v9')},application/json", Wanted(), id="table of new clients"),
        pytest.param(
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Wanted("metadata"),
            id="metadata",
        ),
        pytest.param(
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
            Wanted(),
            id="aggregated discovery, which is not offered",
        ),
    ],
)
def test_choose(accept: str, expected: Wanted) -> None:
    assert choose_form(accept) == expected


@pytest.mark.parametrize(
    "accept", ["application/vnd.kubernetes.protobuf", "text/html", "application/json;as=Chart"]
)
def test_refused(accept: str) -> None:
    with pytest.raises(StatusError) as refused:
        choose_form(accept)

    assert refused.value.code == 406
