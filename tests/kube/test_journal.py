"""What is told of a kind that is followed: few sorts of failure, and the right word for what is in force."""

import logging

import pytest

from nodeplane.errors import ApiError, ConfigError, NodeplaneError, ProtocolError
from nodeplane.kube.intake import WatchFailedError
from nodeplane.kube.journal import Journal, name_reason
from nodeplane.kube.objects import Service
from nodeplane.kube.session import RefusedError, SilenceError
from nodeplane.kube.wire import Failure


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(RefusedError("list Service", 403, "Forbidden", None), "status_403", id="refused"),
        pytest.param(WatchFailedError(Service, Failure(410, "Expired")), "status_410", id="in a stream"),
        pytest.param(SilenceError("watch Service: silent for 30 s"), "silence", id="silence"),
        pytest.param(ProtocolError("expected an event"), "protocol", id="no event"),
        pytest.param(ConfigError("file", "users", "expected a value"), "configuration", id="wrong file"),
        pytest.param(ApiError("watch Service: reset by peer"), "connection", id="anything else"),
    ],
)
def test_reason(error: NodeplaneError, reason: str) -> None:
    assert name_reason(error) == reason


RULE = 'apiGroups: [""], resources: [services], verbs: [list, watch]'


def test_a_missing_rule(caplog: pytest.LogCaptureFixture) -> None:
    """Who may not read a kind is told what to write into a ClusterRole; once, if it is done without."""
    caplog.set_level(logging.INFO, "nodeplane")
    forbidden, unknown = (RefusedError("list Service", code, "no", None) for code in (403, 404))
    journal = Journal(Service)

    journal.failed(forbidden, 0.5)
    for error in (forbidden, forbidden, unknown, unknown, forbidden):
        journal.done_without(error, 0.5)

    without = (
        "forbidden, taken as none kind=Service "
        f"missing_rule={RULE!r} error='list Service: 403 no' looked_for_again_s=0.5"
    )
    assert caplog.messages == [
        "no cluster state yet kind=Service reason=status_403 error='list Service: 403 no' retry_s=0.5",
        f"not allowed to read, a ClusterRole must say kind=Service rule={RULE!r}",
        without,
        "not served, taken as none kind=Service looked_for_again_s=0.5",
        without,
    ]


def test_failures_before_and_after_the_first_list(caplog: pytest.LogCaptureFixture) -> None:
    """There is no last state to be in force before there was one."""
    caplog.set_level(logging.INFO, "nodeplane")
    journal = Journal(Service)
    failure = SilenceError("watch Service: no response")

    journal.failed(failure, 0.5)
    journal.listed(2, "7")
    journal.failed(failure, 1.0)

    facts = "kind=Service reason=silence error='watch Service: no response'"
    assert caplog.messages == [
        f"no cluster state yet {facts} retry_s=0.5",
        "listed kind=Service objects=2 resource_version=7",
        f"cluster state lost, last state in force {facts} retry_s=1.0",
    ]
