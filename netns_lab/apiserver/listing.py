"""LIST: which objects, of which revision, in which pages.

A page names the revision and the place where the next one begins, so the pages together are the state of
one revision, whatever has been written between them.
"""

import base64
import binascii
from collections.abc import Sequence

import msgspec

from netns_lab.apiserver.history import History, State
from netns_lab.apiserver.request_info import ListOptions, Target
from netns_lab.apiserver.selectors import build_matcher
from netns_lab.apiserver.status import bad_request, continue_expired, too_large_revision
from netns_lab.apiserver.wire import Item

_TOKEN_VERSION = "meta.k8s.io/v1"  # noqa: S105 (a format's name)
_NOW = -1


class _Token(msgspec.Struct, frozen=True):
    """The content of a continue token, as upstream's."""

    v: str
    rv: int
    start: str


class Page(msgspec.Struct, frozen=True):
    """What one LIST answers."""

    revision: int
    items: Sequence[Item]
    continue_token: str = ""
    remaining: int | None = None

    def head(self, target: Target) -> bytes:
        """Return the list's bytes up to its first item."""
        metadata = {"resourceVersion": str(self.revision)}
        if self.continue_token:
            metadata["continue"] = self.continue_token
        more = b"" if self.remaining is None else b',"remainingItemCount":%d' % self.remaining
        kind = f'{{"kind":"{target.resource.kind}List","apiVersion":"{target.resource.api_version}"'
        encoded = msgspec.json.encode(metadata)[:-1] + more
        return b'%b,"metadata":%b},"items":[' % (kind.encode(), encoded)


def read_page(state: State, target: Target, options: ListOptions) -> Page:
    """Answer a LIST.

    Raises:
        StatusError: 400 a selector or token is wrong, 410 the revision is forgotten, 504 it is yet to come.
    """
    history = state.history(target.resource)
    revision, start = state.revision, ""
    if options.continue_token:
        token = _decode_token(options.continue_token)
        start = token.start
        if token.rv != _NOW:
            if token.rv < state.compacted:
                raise continue_expired(_encode_token(_NOW, start))
            revision = token.rv
    elif options.resource_version:
        if options.resource_version > state.revision:
            raise too_large_revision(options.resource_version, state.revision)
        if options.match == "Exact" or (options.limit and not options.match):
            # With a limit, a revision alone means that revision (the API's concepts page, "limit set").
            state.check_remembered(options.resource_version)
            revision = options.resource_version
    matcher = build_matcher(target.resource, options.label_selector, options.field_selector)
    items = _items(history, state, revision, target.namespace)
    if start:
        items = [item for item in items if _place(item, target) >= start]
    if matcher is not None:
        items = [item for item in items if matcher(item)]
    if not options.limit or len(items) <= options.limit:
        return Page(revision, items)
    page = items[: options.limit]
    # A name cannot hold a NUL: the place right behind the last one, as upstream's.
    following = _encode_token(revision, _place(page[-1], target) + "\0")
    return Page(revision, page, following, len(items) - len(page) if matcher is None else None)


def _items(history: History, state: State, revision: int, namespace: str) -> Sequence[Item]:
    return history.items(namespace) if revision == state.revision else history.items_at(revision, namespace)


def _place(item: Item, target: Target) -> str:
    return item.name if target.namespace or not item.namespace else f"{item.namespace}/{item.name}"


def _encode_token(revision: int, start: str) -> str:
    text = msgspec.json.encode(_Token(_TOKEN_VERSION, revision, start))
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _decode_token(text: str) -> _Token:
    try:
        content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        token = msgspec.json.decode(content, type=_Token)
    except (binascii.Error, ValueError, msgspec.DecodeError) as exc:
        raise bad_request("continue key is not valid: expected a token that a list gave out") from exc
    if token.v != _TOKEN_VERSION:
        raise bad_request(f"continue key is not valid: unrecognized encoded version {token.v!r}")
    return token
