"""What a container runtime does with CNI plugins, done by hand: `cnitool`'s work, and a look at the replies.

conflist ─► each plugin's configuration ─► plugin ─► reply ─► schema ─► prevResult of the next
                                                                └─► kept for CHECK and DEL
"""

import json
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from netns_lab.cni_list import Json, NetworkList, build_config
from netns_lab.cni_schema import check_error, check_result
from nodeplane.errors import ConfigError, NodeplaneError, ProtocolError

log = logging.getLogger(__name__)


class PluginError(NodeplaneError):
    """A plugin failed; `code` is the SPEC's, 0 if it did not say."""

    def __init__(self, plugin: str, command: str, code: int, text: str) -> None:
        super().__init__(f"{plugin} {command}: {f'code {code}: ' if code else ''}{text}")
        self.code = code


class Attachment(msgspec.Struct, frozen=True):
    """One interface of one container."""

    container_id: str
    interface: str
    netns: str = ""

    @property
    def identity(self) -> dict[str, str]:
        """How GC names it."""
        return {"containerID": self.container_id, "ifname": self.interface}


class Kept(msgspec.Struct, frozen=True, rename="camel"):
    """What is kept of an ADD until its DEL, under the names that libcni keeps it under."""

    container_id: str
    if_name: str
    network_name: str
    result: Json
    netns: str = ""
    cni_args: str = ""
    capability_args: Json = {}

    @property
    def attachment(self) -> Attachment:
        """Whose it is."""
        return Attachment(self.container_id, self.if_name, self.netns)


class Tool:
    """Runs a network's plugins, found in `path`; what ADD gave is kept in the folder `cache`."""

    def __init__(self, network: NetworkList, path: Sequence[str], cache: Path) -> None:
        self._network = network
        self._path = path
        self._cache = cache

    def add(self, attachment: Attachment, args: str, capabilities: Mapping[str, Any]) -> Json:
        """Attach a container; return the last plugin's result.

        Raises:
            PluginError: a plugin failed; what those before it did stays until `delete`, as with a runtime.
            ProtocolError: a reply is not what the SPEC says.
            ConfigError: a plugin is not there.
        """
        network = self._network
        result: Json | None = None
        self._warn_of_untaken(capabilities)
        for plugin in network.plugins:
            config = build_config(network, plugin, capabilities, result)
            reply = self._run("ADD", config, attachment, args)
            try:
                result = check_result(reply, network.version)
            except ProtocolError as exc:
                raise ProtocolError(f"{config['type']} ADD: {exc}") from exc
        if result is None:
            raise AssertionError("a list has a plugin")
        kept = Kept(
            container_id=attachment.container_id,
            if_name=attachment.interface,
            network_name=network.name,
            result=result,
            netns=attachment.netns,
            cni_args=args,
            capability_args=dict(capabilities),
        )
        self._keep(kept)
        return result

    def check(self, attachment: Attachment, args: str, capabilities: Mapping[str, Any]) -> None:
        """Have each plugin look after what it made.

        Raises:
            NodeplaneError: the list's version has no CHECK, or nothing is known of the container.
            PluginError, ConfigError: as `add`.
        """
        network = self._network
        if not network.is_at_least("0.4.0"):
            raise NodeplaneError(f"{network.name}: version {network.version} has no CHECK, 0.4.0 brought it")
        if network.is_check_disabled:
            log.info("nothing checked, the list says disableCheck network=%s", network.name)
            return
        kept = self._kept(attachment)
        if kept is None:
            raise NodeplaneError(
                f"{attachment.container_id}/{attachment.interface}: nothing is kept of its ADD"
            )
        for plugin in network.plugins:
            config = build_config(network, plugin, capabilities or kept.capability_args, kept.result)
            self._run("CHECK", config, attachment, args or kept.cni_args)

    def delete(self, attachment: Attachment, args: str, capabilities: Mapping[str, Any]) -> None:
        """Detach a container, the last plugin first; one that is not attached is fine.

        Raises:
            PluginError, ConfigError: as `add`.
        """
        network, kept = self._network, self._kept(attachment)
        # SPEC section 2, DEL: prevResult came with 0.4.0.
        previous = kept.result if kept is not None and network.is_at_least("0.4.0") else None
        if kept is not None:
            args, capabilities = args or kept.cni_args, capabilities or kept.capability_args
        if not Path(attachment.netns).exists():
            # SPEC section 2, DEL: a runtime whose container's namespace is gone says none.
            attachment = msgspec.structs.replace(attachment, netns="")
        for plugin in reversed(network.plugins):
            self._run("DEL", build_config(network, plugin, capabilities, previous), attachment, args)
        self._file(attachment).unlink(missing_ok=True)

    def collect(self, valid: Sequence[Attachment]) -> None:
        """Remove what belongs to other attachments than these; goes on after an error.

        Raises:
            NodeplaneError: the first error.
        """
        network = self._network
        if network.is_gc_disabled:
            log.info("nothing collected, the list says disableGC network=%s", network.name)
            return
        errors: list[NodeplaneError] = []
        identities = [attachment.identity for attachment in valid]
        for kept in self._all_kept():
            if kept.network_name == network.name and kept.attachment.identity not in identities:
                with _gathered(errors):
                    self.delete(kept.attachment, "", {})
        # SPEC section 2: GC came with 1.1.0.
        for plugin in network.plugins if network.is_at_least("1.1.0") else ():
            with _gathered(errors):
                self._run("GC", build_config(network, plugin, {}, valid=identities))
        if errors:
            raise errors[0]

    def status(self) -> None:
        """Ask each plugin whether it can take an ADD.

        Raises:
            NodeplaneError: the list's version has no STATUS.
            PluginError: one can't.
            ConfigError: as `add`.
        """
        network = self._network
        if not network.is_at_least("1.1.0"):
            raise NodeplaneError(f"{network.name}: version {network.version} has no STATUS, 1.1.0 brought it")
        for plugin in network.plugins:
            self._run("STATUS", build_config(network, plugin, {}))

    def _run(self, command: str, config: Json, attachment: Attachment | None = None, args: str = "") -> bytes:
        name = config["type"]
        program = shutil.which(name, path=os.pathsep.join(self._path))
        if program is None:
            raise ConfigError(name, "", f"expected a program in CNI_PATH {os.pathsep.join(self._path)}")
        environ = {"CNI_COMMAND": command, "CNI_PATH": os.pathsep.join(self._path)}
        if attachment is not None:
            environ |= {
                "CNI_CONTAINERID": attachment.container_id,
                "CNI_NETNS": attachment.netns,
                "CNI_IFNAME": attachment.interface,
                "CNI_ARGS": args,
            }
        log.debug("plugin called program=%s environ=%s config=%s", program, environ, config)
        # What it says on stderr is for people, who stand behind ours.
        done = subprocess.run(
            [program],
            input=json.dumps(config).encode(),
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            check=False,
        )
        if done.returncode != 0:
            raise _failure(name, command, done.returncode, done.stdout)
        return done.stdout

    def _warn_of_untaken(self, capabilities: Mapping[str, Any]) -> None:
        taken = {
            name
            for plugin in self._network.plugins
            for name, is_taken in (plugin.get("capabilities") or {}).items()
            if is_taken
        }
        for name in sorted(capabilities.keys() - taken):
            log.warning("no plugin of the list takes it capability=%s", name)

    def _file(self, attachment: Attachment) -> Path:
        # As libcni names them; none of the parts can have a slash (SPEC section 2).
        return self._cache / f"{self._network.name}-{attachment.container_id}-{attachment.interface}"

    def _keep(self, kept: Kept) -> None:
        self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self._file(kept.attachment)
        draft = file.with_name(f".{file.name}")
        draft.write_bytes(msgspec.json.encode(kept))
        draft.rename(file)

    def _kept(self, attachment: Attachment) -> Kept | None:
        return _read_kept(self._file(attachment))

    def _all_kept(self) -> Iterator[Kept]:
        with suppress(FileNotFoundError):
            for file in sorted(self._cache.iterdir()):
                kept = None if file.name.startswith(".") else _read_kept(file)
                if kept is not None:
                    yield kept


def _read_kept(file: Path) -> Kept | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Kept)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as exc:
        raise ConfigError(str(file), "", f"expected what `netns-lab cni add` keeps: {exc}") from exc


@contextmanager
def _gathered(errors: list[NodeplaneError]) -> Iterator[None]:
    """Put an error to the others and go on."""
    try:
        yield
    except NodeplaneError as exc:
        errors.append(exc)


def _failure(name: str, command: str, code: int, reply: bytes) -> PluginError:
    try:
        error: Json = json.loads(reply)
        text = "; ".join(str(error[key]) for key in ("msg", "details") if error.get(key))
        failure = PluginError(name, command, int(error["code"]), text)
    except (ValueError, TypeError, KeyError, AttributeError):
        text = reply.decode(errors="replace").strip() or "no reply"
        return PluginError(name, command, 0, f"exit code {code}: {text}")
    try:
        check_error(reply)
    except ProtocolError as exc:
        log.warning("not the SPEC's error plugin=%s problem=%r", name, str(exc))
    return failure
