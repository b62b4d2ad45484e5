"""What becomes of a commit whose answer was lost: it is found out, not assumed.

    every commit       compares  fence/SLOT as it was       puts  commit/SLOT = an id of its own
    an answer is lost  1. change fence/SLOT: from here on the lost commit can't be carried out any more
                       2. look through the revisions of commit/SLOT for its id

Without the fence a commit that is still on its way (in a proxy, in a member that waits for a leader) could
happen after it was looked for. Slots are shared by all processes of a cluster, so that there is a fixed
number of these keys; nobody's commit waits for another's, as only a lost one changes a fence.
"""

import random
import time

from ipam.errors import DatastoreError
from ipam.stores.etcd_schema import Layout
from nodeplane.etcd.client import EtcdClient
from nodeplane.etcd.errors import OUT_OF_RANGE, EtcdRefusedError, EtcdUnknownError
from nodeplane.etcd.messages import Compare, KeyValue, Operation, Put, Range, Txn

SLOTS = 256
_PATIENCE_S = 60.0


class CommitSlot:
    """The keys by which a process finds out about its commits."""

    def __init__(self, layout: Layout, number: int | None = None) -> None:
        slot = random.randrange(SLOTS) if number is None else number
        self.fence = layout.prefix + b"/meta/fence/%d" % slot
        self.commit = layout.prefix + b"/meta/commit/%d" % slot
        # Mostly right: no answer of this slot was ever lost. If not, the first commit is refused, and tells.
        self.fence_revision = 0
        self._own = b"%016x" % random.SystemRandom().getrandbits(64)
        self._count = 0

    def next_id(self) -> bytes:
        """Return what the next commit puts; nobody else ever does."""
        self._count += 1
        return b"%s-%d" % (self._own, self._count)

    def outcome(self, client: EtcdClient, commit_id: bytes, known_revision: int) -> int | None:
        """Return the revision of a commit whose answer was lost; None: it was not, and will not be.

        Args:
            client: The way to etcd.
            commit_id: What the commit put.
            known_revision: A revision of etcd from before it was sent.

        Raises:
            EtcdError: it can't be found out now.
            DatastoreError: it can't be found out any more.
        """
        self._raise_fence(client)
        found = _get(client, self.commit)
        while found is not None and found.mod_revision > known_revision:
            if found.value == commit_id:
                return found.mod_revision
            found = self._before(client, found)
        return None

    def _raise_fence(self, client: EtcdClient) -> None:
        """Return once the fence is another one than the lost commit compares."""
        deadline_s = time.monotonic() + _PATIENCE_S
        compare = Compare(self.fence, mod_revision=self.fence_revision)
        change = Txn((compare,), (Operation(request_put=Put(self.fence, self.next_id())),))
        while True:
            try:
                client.txn(change)
            except EtcdUnknownError:
                if time.monotonic() > deadline_s:
                    raise
            now = _revision(_get(client, self.fence))
            if now != self.fence_revision:
                self.fence_revision = now
                return

    def _before(self, client: EtcdClient, found: KeyValue) -> KeyValue | None:
        """Return what the commit's key had before."""
        try:
            return _get(client, self.commit, found.mod_revision - 1)
        except EtcdRefusedError as exc:
            if exc.code != OUT_OF_RANGE:
                raise
            raise DatastoreError(
                f"{client}: the answer to a write was lost, and the history that would tell its outcome has "
                "been compacted: ask again"
            ) from exc


def _get(client: EtcdClient, key: bytes, revision: int = 0) -> KeyValue | None:
    found = client.range(Range(key, revision=revision)).kvs
    return found[0] if found else None


def _revision(found: KeyValue | None) -> int:
    return 0 if found is None else found.mod_revision
