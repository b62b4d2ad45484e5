"""The envelope of a CNI plugin: what is a valid call, and how an answer looks."""

import json
from ipaddress import ip_interface
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.cniresult import Ip, Result
from nodeplane.cnispec import (
    SUPPORTED_VERSIONS,
    CniError,
    ErrorCode,
    Request,
    answer_version,
    cni_error,
    decode_args,
    decode_config,
    decode_request,
    render_error,
    serve,
)
from nodeplane.errors import ApiError, ConfigError, KernelError, NodeplaneError, kernel_error

CONFIG = b'{"cniVersion": "1.1.0", "name": "net"}'
ENVIRON = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/p",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web",
    "CNI_PATH": "/opt/cni/bin:/usr/lib/cni",
}
REQUEST = Request(
    command="ADD",
    config=CONFIG,
    version="1.1.0",
    network="net",
    container_id="c1",
    netns="/run/netns/p",
    interface="eth0",
    args={"IgnoreUnknown": "1", "K8S_POD_NAME": "web"},
    path=("/opt/cni/bin", "/usr/lib/cni"),
)
IDENTIFIER = "expected letters, digits, '_', '.', '-', the first a letter or a digit"
INTERFACE = "expected 1 to 15 characters without '/', ':' and spaces, not '.' or '..'"
VERSIONS = "plugin supports 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"


class Section(msgspec.Struct):
    port: int


class PluginConfig(msgspec.Struct):
    sections: list[Section]


class PluginError(NodeplaneError):
    pass


class SpecialError(PluginError):
    pass


@pytest.mark.parametrize(
    ("environ", "config", "expected"),
    [
        pytest.param(ENVIRON, CONFIG, REQUEST, id="ADD"),
        pytest.param(
            {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"},
            b'{"name": "net"}',
            Request("DEL", b'{"name": "net"}', "0.1.0", "net", "c1", "", "eth0"),
            id="DEL with the least, in the oldest version",
        ),
        pytest.param(
            {"CNI_COMMAND": "STATUS"}, CONFIG, Request("STATUS", CONFIG, "1.1.0", "net"), id="STATUS"
        ),
        pytest.param(
            {**ENVIRON, "CNI_CONTAINERID": "A_b.c-9", "CNI_IFNAME": "a-_.@b15charsXX"},
            CONFIG,
            msgspec.structs.replace(REQUEST, container_id="A_b.c-9", interface="a-_.@b15charsXX"),
            id="odd but valid names",
        ),
    ],
)
def test_decode_request(environ: dict[str, str], config: bytes, expected: Request) -> None:
    found = decode_request(environ, config)

    assert msgspec.structs.replace(found, environ={}) == expected
    # What a plugin that is run on behalf of this call gets.
    assert found.environ == environ


@pytest.mark.parametrize(
    ("change", "config", "code", "msg", "details"),
    [
        pytest.param({"CNI_COMMAND": "FOO"}, CONFIG, 4, "unknown CNI_COMMAND: FOO", "", id="command"),
        pytest.param(
            {"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": ""},
            CONFIG,
            4,
            "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing",
            "",
            id="all missing",
        ),
        pytest.param(
            {"CNI_CONTAINERID": "-c"},
            CONFIG,
            4,
            "invalid CNI_CONTAINERID",
            f"{IDENTIFIER}, got '-c'",
            id="id: first",
        ),
        pytest.param(
            {"CNI_CONTAINERID": "a/b"},
            CONFIG,
            4,
            "invalid CNI_CONTAINERID",
            f"{IDENTIFIER}, got 'a/b'",
            id="id: slash",
        ),
        pytest.param(
            {"CNI_CONTAINERID": "a\n"},
            CONFIG,
            4,
            "invalid CNI_CONTAINERID",
            f"{IDENTIFIER}, got 'a\\n'",
            id="id: newline",
        ),
        pytest.param(
            {"CNI_IFNAME": "sixteen-letters-"},
            CONFIG,
            4,
            "invalid CNI_IFNAME",
            f"{INTERFACE}, got 'sixteen-letters-'",
            id="link: long",
        ),
        pytest.param(
            {"CNI_IFNAME": ".."}, CONFIG, 4, "invalid CNI_IFNAME", f"{INTERFACE}, got '..'", id="link: dots"
        ),
        pytest.param(
            {"CNI_IFNAME": "a b"},
            CONFIG,
            4,
            "invalid CNI_IFNAME",
            f"{INTERFACE}, got 'a b'",
            id="link: space",
        ),
        pytest.param(
            {"CNI_IFNAME": "a:b"},
            CONFIG,
            4,
            "invalid CNI_IFNAME",
            f"{INTERFACE}, got 'a:b'",
            id="link: colon",
        ),
        pytest.param(
            {"CNI_IFNAME": "é" * 8},
            CONFIG,
            4,
            "invalid CNI_IFNAME",
            f"{INTERFACE}, got '{'é' * 8}'",
            id="link: long in bytes",
        ),
        *(
            pytest.param(
                {name: "a\udcff"},
                CONFIG,
                4,
                f"invalid {name}",
                "expected UTF-8, got b'a\\xff'",
                id=f"bytes: {name}",
            )
            for name in ("CNI_COMMAND", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH")
        ),
        pytest.param(
            {"CNI_ARGS": "A=1;B"},
            CONFIG,
            4,
            "invalid CNI_ARGS",
            "expected KEY=VALUE;KEY=VALUE, got 'B'",
            id="args",
        ),
        pytest.param({}, b"", 6, "network configuration is not JSON", "Input data was truncated", id="empty"),
        pytest.param(
            {},
            b'{"cniVersion": "2.0.0", "name": "net"}',
            1,
            "incompatible CNI versions",
            f"config is '2.0.0', {VERSIONS}",
            id="version",
        ),
        pytest.param(
            {"CNI_COMMAND": "CHECK"},
            b'{"cniVersion": "0.3.1", "name": "net"}',
            1,
            "config version does not allow CHECK",
            "config is '0.3.1', CHECK came with 0.4.0",
            id="CHECK is newer",
        ),
        pytest.param(
            {"CNI_COMMAND": "GC"},
            b'{"cniVersion": "1.0.0", "name": "net"}',
            1,
            "config version does not allow GC",
            "config is '1.0.0', GC came with 1.1.0",
            id="GC is newer",
        ),
        pytest.param(
            {},
            b'{"cniVersion": "1.1.0"}',
            7,
            "network configuration: name: expected the network's name",
            "",
            id="no name",
        ),
        pytest.param(
            {},
            b'{"cniVersion": "1.1.0", "name": "a/b"}',
            7,
            f"network configuration: name: {IDENTIFIER}, got 'a/b'",
            "",
            id="name",
        ),
        pytest.param(
            {},
            b'{"cniVersion": 1}',
            7,
            "network configuration: cniVersion: expected `str`, got `int`",
            "",
            id="type",
        ),
        pytest.param(
            {}, b"[]", 7, "network configuration: expected `object`, got `array`", "", id="not an object"
        ),
    ],
)
def test_decode_request_refuses(
    change: dict[str, str], config: bytes, code: int, msg: str, details: str
) -> None:
    with pytest.raises(NodeplaneError) as caught:
        decode_request({**ENVIRON, **change}, config)

    error = cni_error(caught.value, {})
    assert (error.code, error.msg, error.details) == (code, msg, details)


@pytest.mark.parametrize(
    ("config", "msg"),
    [
        pytest.param(b"{}", "network configuration: sections: expected, but missing", id="top"),
        pytest.param(
            b'{"sections": [{"port": 1}, {}]}',
            "network configuration: sections[1].port: expected, but missing",
            id="inside",
        ),
        pytest.param(
            b'{"sections": [{"port": "x"}]}',
            "network configuration: sections[0].port: expected `int`, got `str`",
            id="type",
        ),
    ],
)
def test_decode_config_names_the_field(config: bytes, msg: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_config(config, PluginConfig)

    assert str(caught.value) == msg


@given(st.binary())
@settings(deadline=None)
def test_garbage_is_refused_in_our_words(config: bytes) -> None:
    """Whatever comes on stdin, the runtime gets an error object of the SPEC."""
    try:
        decode_request(ENVIRON, config)
    except NodeplaneError as exc:
        answer = json.loads(render_error(cni_error(exc, {}), answer_version(config)))
        assert answer["code"] in {1, 6, 7}
        assert answer["cniVersion"] in SUPPORTED_VERSIONS


@given(
    st.dictionaries(st.from_regex(r"[A-Za-z0-9_]+", fullmatch=True), st.from_regex(r"[^;]*", fullmatch=True))
)
@settings(deadline=None)
def test_args_round_trip(args: dict[str, str]) -> None:
    assert decode_args(";".join(f"{key}={value}" for key, value in args.items())) == args


@pytest.mark.parametrize(
    ("environ", "config", "expected"),
    [
        pytest.param(
            ENVIRON,
            CONFIG,
            {"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.1/32"}]},
            id="ADD has a result",
        ),
        pytest.param({**ENVIRON, "CNI_COMMAND": "DEL"}, CONFIG, None, id="DEL has none"),
        pytest.param(
            {"CNI_COMMAND": "VERSION"},
            b"",
            {"cniVersion": "1.1.0", "supportedVersions": list(SUPPORTED_VERSIONS)},
            id="VERSION without stdin",
        ),
        pytest.param(
            {"CNI_COMMAND": "VERSION"},
            b'{"cniVersion": "0.4.0"}',
            {"cniVersion": "0.4.0", "supportedVersions": list(SUPPORTED_VERSIONS)},
            id="VERSION answers in the version asked in",
        ),
    ],
)
def test_serve(environ: dict[str, str], config: bytes, expected: dict[str, Any] | None) -> None:
    commands = {
        "ADD": lambda _: Result(ips=(Ip(ip_interface("10.0.0.1/32")),)),
        "DEL": lambda _: None,
    }
    answer = serve(environ, config, commands)

    assert (json.loads(answer) if answer else None) == expected


def test_serve_refuses_what_the_plugin_does_not_do() -> None:
    with pytest.raises(CniError) as caught:
        serve({**ENVIRON, "CNI_COMMAND": "CHECK"}, CONFIG, {})

    assert (caught.value.code, caught.value.msg) == (4, "unknown CNI_COMMAND: CHECK")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(CniError(ErrorCode.INVALID_NETNS, "x"), 8, id="says its code"),
        pytest.param(ConfigError("f", "a", "b"), 7, id="config"),
        pytest.param(ApiError("x"), 11, id="passes by itself"),
        pytest.param(KernelError("add link", 5), 5, id="kernel"),
        pytest.param(kernel_error("add link", 17), 5, id="kernel, by its base class"),
        pytest.param(PluginError("x"), 101, id="the plugin's"),
        pytest.param(SpecialError("x"), 102, id="the nearest class counts"),
        pytest.param(NodeplaneError("x"), 999, id="none of them"),
    ],
)
def test_error_codes(error: NodeplaneError, code: int) -> None:
    assert cni_error(error, {PluginError: 101, SpecialError: 102}).code == code


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(CniError(4, "m"), b'{"cniVersion":"1.0.0","code":4,"msg":"m"}', id="short"),
        pytest.param(
            CniError(4, "m", "d"),
            b'{"cniVersion":"1.0.0","code":4,"msg":"m","details":"d"}',
            id="with details",
        ),
    ],
)
def test_render_error(error: CniError, expected: bytes) -> None:
    assert render_error(error, "1.0.0") == expected
