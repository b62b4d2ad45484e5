"""All controllers together: each hears of every event, and works in a task of its own."""

import asyncio
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

import msgspec

from netns_lab.apiserver.controllers.endpoints import EndpointsController
from netns_lab.apiserver.controllers.node_cidrs import NodeCidrController
from netns_lab.apiserver.controllers.node_leases import NodeLeaseController
from netns_lab.apiserver.controllers.pod_termination import PodTerminationController
from netns_lab.apiserver.history import Event
from netns_lab.apiserver.registry import Registry
from netns_lab.apiserver.resources import RESOURCES, Resource


class ControllerSettings(msgspec.Struct, frozen=True):
    """How the controllers work; upstream's flags of the same meaning are at their users."""

    pod_cidrs: tuple[IPv4Network | IPv6Network, ...] = (IPv4Network("10.244.0.0/16"),)
    node_grace_s: float = 40.0
    node_check_interval_s: float = 5.0


class Controller(Protocol):
    """One loop that keeps objects in step."""

    def observe(self, resource: Resource, event: Event) -> None:
        """Take an event in, at once and without waiting."""
        ...

    async def run(self) -> None:
        """Work for as long as the task lives."""
        ...


class Controllers:
    """Every controller, as one."""

    def __init__(self, settings: ControllerSettings, registry: Registry) -> None:
        self._registry = registry
        self._every: tuple[Controller, ...] = (
            EndpointsController(registry),
            NodeCidrController(registry, settings.pod_cidrs),
            NodeLeaseController(
                registry, grace_s=settings.node_grace_s, interval_s=settings.node_check_interval_s
            ),
            PodTerminationController(registry),
        )

    def observe(self, resource: Resource, event: Event) -> None:
        """Tell every controller of an event."""
        for controller in self._every:
            controller.observe(resource, event)

    def load(self) -> None:
        """Tell every controller of what is there."""
        for resource in RESOURCES:
            for item in self._registry.state.history(resource).items():
                self.observe(resource, Event(item.revision, None, item))

    async def run(self) -> None:
        """Work for as long as the task lives."""
        async with asyncio.TaskGroup() as tasks:
            for controller in self._every:
                tasks.create_task(controller.run())
