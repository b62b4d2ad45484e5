"""Who has to act is the class; what happened is one line."""

import errno
import os

import pytest

from nodeplane.errors import (
    ApiError,
    ConfigError,
    KernelError,
    KernelExistsError,
    KernelNotFoundError,
    KernelPermissionError,
    NodeplaneError,
    ProtocolError,
    SetupError,
    kernel_error,
    missing_right,
    own_rights,
)


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        pytest.param(
            errno.ENOENT, KernelNotFoundError, "add route: No such file or directory (ENOENT)", id="ENOENT"
        ),
        pytest.param(errno.ENODEV, KernelNotFoundError, "add route: No such device (ENODEV)", id="ENODEV"),
        pytest.param(errno.ESRCH, KernelNotFoundError, "add route: No such process (ESRCH)", id="ESRCH"),
        pytest.param(errno.EEXIST, KernelExistsError, "add route: File exists (EEXIST)", id="EEXIST"),
        pytest.param(
            errno.EPERM,
            KernelPermissionError,
            "add route: Operation not permitted (EPERM): must run as root, or with CAP_NET_ADMIN",
            id="EPERM",
        ),
        pytest.param(
            errno.EACCES,
            KernelPermissionError,
            "add route: Permission denied (EACCES): must run as root, or with CAP_NET_ADMIN",
            id="EACCES",
        ),
        pytest.param(errno.EBUSY, KernelError, "add route: Device or resource busy (EBUSY)", id="another"),
        pytest.param(4095, KernelError, "add route: Unknown error 4095 (4095)", id="no errno of this kernel"),
    ],
)
def test_kernel_error(
    number: int, kind: type[KernelError], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The class follows the errno, so that callers catch what they can act on."""
    monkeypatch.setattr("nodeplane.errors.own_rights", lambda: (1000, 0))
    error = kernel_error("add route", number)

    assert (type(error), str(error), error.operation, error.errno) == (kind, text, "add route", number)


@pytest.mark.parametrize(
    ("uid", "capabilities", "expected"),
    [
        pytest.param(1000, 0, "must run as root, or with CAP_NET_ADMIN", id="a user"),
        pytest.param(1000, 1 << 12, "must run as root", id="a user with it"),
        pytest.param(0, 0, "must have the capability CAP_NET_ADMIN", id="root without any"),
        pytest.param(0, 0xA80425FB, "must have the capability CAP_NET_ADMIN", id="root of a container"),
        pytest.param(0, 0x1FFFFFFFFFF, "", id="root"),
    ],
)
def test_missing_right(uid: int, capabilities: int, expected: str) -> None:
    """Root of a container has few rights: it is told which one, not to be root."""
    assert missing_right(uid, capabilities) == expected


def test_own_rights() -> None:
    """They are this process's."""
    uid, capabilities = own_rights()

    assert uid == os.geteuid()
    assert uid != 0 or capabilities


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        pytest.param(NodeplaneError("x"), 1, id="any other"),
        pytest.param(ApiError("x"), 1, id="source"),
        pytest.param(ProtocolError("x"), 1, id="peer"),
        pytest.param(kernel_error("x", errno.EBUSY), 1, id="kernel"),
        pytest.param(kernel_error("x", errno.EPERM), 2, id="not root"),
        pytest.param(ConfigError("f", "a", "b"), 2, id="bad input"),
        pytest.param(SetupError("x"), 2, id="machine lacks something"),
    ],
)
def test_exit_code(error: NodeplaneError, exit_code: int) -> None:
    """2 is for what the user has to change, 1 for all else."""
    assert error.exit_code == exit_code


@pytest.mark.parametrize(
    ("place", "field", "expected", "text"),
    [
        pytest.param("a.yaml:3", "spec.x", "expected 1", "a.yaml:3: spec.x: expected 1", id="all"),
        pytest.param("a.yaml:3", "", "expected YAML", "a.yaml:3: expected YAML", id="no field"),
        pytest.param("", "LAB", "expected a name", "LAB: expected a name", id="no place"),
    ],
)
def test_config_error(place: str, field: str, expected: str, text: str) -> None:
    """What is not known leaves no gap in the line."""
    error = ConfigError(place, field, expected)

    assert (str(error), error.place, error.field, error.expected) == (text, place, field, expected)
