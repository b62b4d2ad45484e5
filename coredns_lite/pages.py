"""The program's HTTP pages by address: they outlive a reload, which gives them other handlers."""

import asyncio
from collections.abc import Mapping
from functools import partial

from nodeplane.runtime.listen import ListenAddress
from nodeplane.runtime.page import Handler, Request, Response, route

PageTable = Mapping[ListenAddress, Mapping[str, Handler]]
"""Handlers by address and path."""


class Pages:
    """Serves the table that was last shown; an address that is taken is tried again until it is free."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._serving: dict[ListenAddress, asyncio.Task[None]] = {}
        self._table: PageTable = {}

    def show(self, table: PageTable) -> None:
        """Serve these pages from now on, and no others."""
        self._table = table
        for address in self._serving.keys() - table.keys():
            self._serving.pop(address).cancel()
        fresh = table.keys() - self._serving.keys()
        if not fresh:
            return
        # Late: an HTTP server takes half a megabyte.
        from nodeplane.runtime.http import keep_serving

        for address in fresh:
            main = keep_serving(address, partial(self._answer, address))
            self._serving[address] = self._tasks.create_task(main)

    def _answer(self, address: ListenAddress, request: Request) -> Response:
        return route(self._table.get(address, {}))(request)
