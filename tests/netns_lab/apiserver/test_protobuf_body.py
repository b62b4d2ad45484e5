"""What kubectl sends in protobuf is read as what it would have sent in JSON."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netns_lab.apiserver.protobuf_body import decode_protobuf
from netns_lab.apiserver.status import StatusError


def field(number: int, content: bytes | str | int) -> bytes:
    """One field; short, so that tag and length are a byte each."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    data = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    rest, low = divmod(value, 128)
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def envelope(kind: str, raw: bytes, version: str = "v1") -> bytes:
    return (
        b"k8s\0" + field(1, field(1, version) + field(2, kind)) + field(2, raw) + field(3, "") + field(4, "")
    )


# `kubectl create configmap a` of 1.32.4, as it was on the wire.
RECORDED = bytes.fromhex(
    "6b3873000a0f0a0276311209436f6e6669674d617012130a110a016112001a0022002a003200380042001a002200"
)
NAME = field(1, field(1, "a"))
PORT = field(1, "http") + field(2, "TCP") + field(3, 80) + field(5, 30080)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            RECORDED, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}, id="recorded"
        ),
        pytest.param(
            envelope(
                "ConfigMap",
                NAME
                + field(2, field(1, "k") + field(2, "v"))
                + field(2, field(1, "empty"))
                + field(3, field(1, "b") + field(2, b"\xff\x01"))
                + field(4, 0),
            ),
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "a"},
                "data": {"k": "v", "empty": ""},
                "binaryData": {"b": "/wE="},
                "immutable": False,
            },
            id="maps, and a flag that is false",
        ),
        pytest.param(
            envelope(
                "Service",
                NAME
                + field(
                    2,
                    field(1, PORT + field(4, field(1, 0) + field(2, 8080) + field(3, "")))
                    + field(1, field(3, 81) + field(4, field(1, 1) + field(2, 0) + field(3, "web")))
                    + field(2, field(1, "app") + field(2, "web"))
                    + field(3, "None")
                    + field(13, 0)
                    + field(18, "None"),
                ),
            ),
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "a"},
                "spec": {
                    "ports": [
                        {
                            "name": "http",
                            "protocol": "TCP",
                            "port": 80,
                            "targetPort": 8080,
                            "nodePort": 30080,
                        },
                        {"port": 81, "targetPort": "web"},
                    ],
                    "selector": {"app": "web"},
                    "clusterIP": "None",
                    "clusterIPs": ["None"],
                },
            },
            id="service",
        ),
        pytest.param(
            envelope("Service", NAME + field(2, field(1, field(3, (1 << 64) - 1)))),
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "a"},
                "spec": {"ports": [{"port": -1}]},
            },
            id="a negative number, for validation to refuse",
        ),
        pytest.param(
            envelope("Namespace", NAME + b"\x49" + bytes(8) + b"\x4d" + bytes(4)),
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}},
            id="unknown fields of every width",
        ),
        pytest.param(
            envelope(
                "DeleteOptions",
                field(1, 0) + field(2, field(1, "u")) + field(5, "All"),
                "discovery.k8s.io/v1",
            ),
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "DeleteOptions",
                "gracePeriodSeconds": 0,
                "preconditions": {"uid": "u"},
                "dryRun": ["All"],
            },
            id="deletion options: no grace is not the usual grace",
        ),
        pytest.param(envelope("Pod", NAME), None, id="a kind that is read as JSON"),
        pytest.param(envelope("Service", NAME, "v2"), None, id="another version"),
    ],
)
def test_decode(body: bytes, expected: Any) -> None:
    assert decode_protobuf(body) == expected


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(b"{}", "it does not begin as one", id="JSON"),
        pytest.param(RECORDED[:30], "it ends in the middle of a field", id="cut in a field"),
        pytest.param(b"k8s\0\x80", "it ends in the middle of a number", id="cut in a number"),
        pytest.param(b"k8s\0" + b"\xff" * 11, "a number is too long", id="a number that never ends"),
        pytest.param(b"k8s\0\x0b", "unknown wire type 3", id="a group"),
        pytest.param(b"k8s\0\x08\x01", "expected bytes", id="a number for a message"),
        pytest.param(
            envelope("Service", field(2, field(13, "x"))), "expected a number", id="text for a flag"
        ),
        pytest.param(envelope("Namespace", field(1, field(1, b"\xff"))), "can't decode byte", id="no text"),
    ],
)
def test_refused(body: bytes, why: str) -> None:
    with pytest.raises(StatusError, match=why) as refused:
        decode_protobuf(body)

    assert refused.value.code == 400


@given(st.sampled_from(["ConfigMap", "Service", "Namespace"]), st.binary(max_size=60))
@settings(deadline=None)
def test_garbage_is_an_object_or_refused(kind: str, raw: bytes) -> None:
    """Whatever comes: an object, a kind that is not read, or a refusal; no other error."""
    for body in (envelope(kind, raw), b"k8s\0" + raw):
        with suppress(StatusError):
            value = decode_protobuf(body)
            assert value is None or isinstance(value["kind"], str)
