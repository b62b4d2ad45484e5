"""The service ports that are published, by Service, and the frontends whose port has changed."""

from collections.abc import Iterable, Mapping, Sequence

from kubeproxy.desired.element_store import ElementKey
from kubeproxy.desired.service_port import PortName, ServicePort

ServiceName = tuple[str, str]


class PortBook:
    """What each Service publishes now."""

    def __init__(self) -> None:
        self.ports: dict[PortName, ServicePort] = {}
        self._services: dict[ServiceName, tuple[PortName, ...]] = {}
        # None until somebody has asked: then it was all of them.
        self._touched: set[ElementKey] | None = None

    def replace(
        self, services: Mapping[ServiceName, Sequence[ServicePort]]
    ) -> tuple[list[PortName], list[PortName]]:
        """Put what these Services publish in place of what they published before; return what went and came.

        The second list has the ports that are new or different.
        """
        gone: list[PortName] = []
        changed: list[PortName] = []
        for service, ports in services.items():
            fresh = {port.name: port for port in ports}
            known = self._services.pop(service, ())
            if fresh:
                self._services[service] = tuple(fresh)
            for name in known:
                if name not in fresh:
                    self._touch([self.ports.pop(name)])
                    gone.append(name)
            for name, port in fresh.items():
                before = self.ports.get(name)
                if before != port:
                    self._touch([port] if before is None else [before, port])
                    self.ports[name] = port
                    changed.append(name)
        return gone, changed

    def names(self, service: ServiceName) -> tuple[PortName, ...]:
        """Return the ports of a Service."""
        return self._services.get(service, ())

    def take_touched_frontends(self) -> set[ElementKey] | None:
        """Return the frontends whose service port has changed since the last call; at first None: all."""
        touched, self._touched = self._touched, set()
        return touched

    def _touch(self, ports: Iterable[ServicePort]) -> None:
        if self._touched is not None:
            self._touched.update(frontend for port in ports for frontend in port.frontends)
