"""What changes below a prefix of an etcd cluster, by the events of its watch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ipam.errors import DatastoreError
from ipam.store import Counters, News
from ipam.stores.etcd_reader import EtcdReader, EtcdSnapshot
from ipam.stores.etcd_schema import Layout
from nodeplane.etcd.client import EtcdClient
from nodeplane.etcd.errors import EtcdError
from nodeplane.etcd.messages import prefix_range_end
from nodeplane.etcd.watch import EtcdWatch


class EtcdFeed:
    """A `Feed` below a layout's prefix.

    Raises:
        DatastoreError: etcd can't be reached.
    """

    def __init__(self, new_client: Callable[[], EtcdClient], layout: Layout, prefixes: Sequence[str]) -> None:
        self._layout = layout
        self._prefixes = tuple(prefixes)
        self._client = new_client()
        self._is_read = False
        self._is_closed = False
        try:
            with _errors():
                self._reader = EtcdReader(self._client, layout, Counters())
                # From before the first read on: what comes in between is told twice.
                _, revision = self._reader.key("")
                self._watch = self._open_watch(new_client(), revision + 1)
        except BaseException:
            self._client.close()
            raise

    def next(self) -> News | None:
        """Wait for the next change; see `Feed`."""
        with _errors():
            while self._is_read:
                if not self._watch.wait():
                    return None
                events = self._watch.take_events()
                if events is None:
                    break
                entries = {
                    self._layout.name(event.kv.key): event.kv.value if event.type == "PUT" else None
                    for event in events
                }
                ours = {key: value for key, value in entries.items() if key.startswith(self._prefixes)}
                if ours:
                    return News(ours, False)
            if self._is_closed:
                return None
            self._is_read = True
            return self._read_all()

    def close(self) -> None:
        """End it; see `Feed`."""
        self._is_closed = True
        self._watch.close()
        self._client.close()

    def _read_all(self) -> News:
        view = EtcdSnapshot(self._reader)
        found = [view.scan(prefix) for prefix in self._prefixes]
        return News({entry.key: entry.value for each in found for entry in each.entries}, True)

    def _open_watch(self, client: EtcdClient, revision: int) -> EtcdWatch:
        # One range: each change of an address writes a few keys more than what is followed.
        try:
            end = prefix_range_end(self._layout.data)
            return EtcdWatch(client, self._layout.data, end, start_revision=revision, keeps_events=True)
        except BaseException:
            client.close()
            raise


@contextmanager
def _errors() -> Iterator[None]:
    """Say what etcd's errors are to us."""
    try:
        yield
    except EtcdError as exc:
        raise DatastoreError(str(exc)) from exc
