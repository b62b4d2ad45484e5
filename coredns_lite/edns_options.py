"""EDNS options that the program itself answers, so that no plugin needs to see the query for them.

NSID (RFC 5001), cookies (RFC 7873), the idle time of streams (RFC 7828), padding (RFC 7830).
"""

import time
from collections.abc import Callable, Sequence

from coredns_lite.plugin import Client
from coredns_lite.wire.cookie import CLIENT_COOKIE_BYTES, COOKIE, CookieJar
from coredns_lite.wire.query import MIN_REPLY_BYTES, MessageFormatError, decode_bare_query
from coredns_lite.wire.reply import CONFIGURATION, PADDING, Answer, Rcode, render_reply

# A stream without a query is closed after this time (RFC 7766 section 6.2.3 leaves it to us).
IDLE_TIMEOUT_S = 10

EDNS_VERSION = 0
BADVERS = Answer(Rcode.BADVERS, is_authoritative=False, about=CONFIGURATION)
BADCOOKIE = Answer(Rcode.BADCOOKIE, is_authoritative=False, is_lasting=False)
_NOTHING = Answer(is_authoritative=False, is_lasting=False)

_NSID, _KEEPALIVE = 3, 11
OWN_OPTIONS = frozenset((_NSID, COOKIE, _KEEPALIVE, PADDING))
_KEEPALIVE_UNITS_PER_S = 10

Options = tuple[tuple[int, bytes], ...]
FindClient = Callable[[], Client]


class EdnsOptions:
    """Answers the options of queries that come one way."""

    def __init__(self, cookies: CookieJar | None, *, is_stream: bool, is_encrypted: bool) -> None:
        self._cookies = cookies
        self._is_stream = is_stream
        self._is_encrypted = is_encrypted

    def answer(
        self,
        options: Sequence[tuple[int, bytes]],
        find_client: FindClient,
        *,
        is_ours: bool,
        nsid: bytes | None,
    ) -> tuple[Options, bool]:
        """Return the options of the reply, and whether the query has a cookie that is not ours.

        To a zone that isn't ours no reply over UDP is longer than its query.

        Raises:
            MessageFormatError: a cookie that is none.
        """
        answers = []
        has_bad_cookie = False
        # The first of each counts (RFC 7873 section 5.2).
        first = dict(reversed(options))
        for code, data in first.items():
            if code == COOKIE and self._cookies:
                cookie, is_good = self._cookies.answer(data, find_client().address, int(time.time()))
                has_bad_cookie = not is_good
                if is_ours:
                    answers.append((COOKIE, cookie))
            elif code == _NSID and nsid is not None:
                answers.append((_NSID, nsid))
            elif code == _KEEPALIVE and self._is_stream:
                answers.append((_KEEPALIVE, (IDLE_TIMEOUT_S * _KEEPALIVE_UNITS_PER_S).to_bytes(2, "big")))
        # In clear it would hide nothing (RFC 7830 section 6).
        if PADDING in first and self._is_encrypted:
            answers.append((PADDING, b""))
        return tuple(answers), has_bad_cookie

    def answer_bare(self, packet: bytes, find_client: FindClient) -> tuple[bytes, Rcode]:
        """Answer a query without a question, which is there to get or to check a cookie; say how.

        Raises:
            MessageFormatError: without a cookie it has no meaning (RFC 7873 section 5.4).
        """
        query = decode_bare_query(packet)
        if query.edns and query.edns.version != EDNS_VERSION:
            return render_reply(query, BADVERS, MIN_REPLY_BYTES), BADVERS.rcode
        asked = dict(reversed(query.edns.options)).get(COOKIE) if query.edns else None
        if asked is None or not self._cookies:
            raise MessageFormatError("expected a question or a cookie")
        cookie, is_good = self._cookies.answer(asked, find_client().address, int(time.time()))
        answer = _NOTHING if is_good or len(asked) == CLIENT_COOKIE_BYTES else BADCOOKIE
        return render_reply(query, answer, MIN_REPLY_BYTES, ((COOKIE, cookie),)), answer.rcode
