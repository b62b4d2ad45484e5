#!/usr/bin/python3 -IS
"""The CNI plugin as a runtime starts it: hand the call to cni-agent, print the answer, exit with its code.

Pod start-up waits for this interpreter, so it loads nothing else: `posix` and `_socket` are built in, while
`json` or `socket` alone cost 11 ms. (One argument after the interpreter's name is all that Linux passes on.)

    no agent, or it declines           the plugin itself is run, with the same state and locks; where that
                                       is not there: code 11, STATUS 50, and VERSION is answered here
    an agent that answers nothing      ADD and the others: code 11, "try again later"; STATUS: 50;
                                       DEL and VERSION: the plugin itself is run

The frame is `call_protocol`'s, the native twin `launcher.c`; `cni.calls.shims` puts the plugin's path in.
"""

import _socket
import posix

PLUGIN = b"/usr/bin/nodeplane-cni"
SOCKET = b"/run/nodeplane/cni.sock"
DEADLINE_S = b"25"

DECLINED = 255
CONFIG_BYTES, ENVIRONMENT_BYTES, STDOUT_BYTES, STDERR_BYTES = 1 << 20, 1 << 18, 1 << 22, 1 << 16
VERSIONS = b'["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]'


def main() -> int:
    """Do one call; return the exit code."""
    command = posix.environ.get(b"CNI_COMMAND", b"")
    if not command or (command == b"VERSION" and posix.isatty(0)):
        return run_plugin(None)
    config = read_all(0)
    block = b"".join(name + b"=" + value + b"\0" for name, value in posix.environ.items())
    if len(config) > CONFIG_BYTES or len(block) > ENVIRONMENT_BYTES:
        return run_plugin(config)
    call = b"NPC1" + len(block).to_bytes(4, "big") + len(config).to_bytes(4, "big") + block + config
    verdict, stdout, stderr = ask(call)
    if stdout is None:
        return no_answer(command, config)
    if verdict == DECLINED:
        return run_plugin(config)
    write_all(1, stdout)
    write_all(2, stderr)
    return verdict


def ask(call: bytes) -> "tuple[int, bytes | None, bytes]":
    """Have the agent do the call; return the verdict, stdout (None if it does not answer) and stderr."""
    agent = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    agent.settimeout(float(posix.environ.get(b"NODEPLANE_CNI_DEADLINE_S", DEADLINE_S)))
    try:
        agent.connect(posix.environ.get(b"NODEPLANE_CNI_SOCKET", SOCKET))
    except (TimeoutError, BlockingIOError):
        # There is one, with more callers than it takes in.
        return 0, None, b""
    except OSError:
        return DECLINED, b"", b""
    try:
        agent.sendall(call)
        head = receive(agent, 8)
        verdict, size = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
        if verdict > DECLINED or size > STDOUT_BYTES:
            return verdict, None, b""
        stdout = receive(agent, size)
    except OSError:
        return 0, None, b""
    try:
        size = int.from_bytes(receive(agent, 4), "big")
        return verdict, stdout, receive(agent, size) if size <= STDERR_BYTES else b""
    except OSError:
        # An agent of before: the answer is whole without.
        return verdict, stdout, b""


def receive(agent: _socket.socket, size: int) -> bytes:
    """Receive exactly `size` bytes."""
    data = b""
    while len(data) < size:
        part = agent.recv(size - len(data))
        if not part:
            raise OSError
        data += part
    return data


def no_answer(command: bytes, config: bytes) -> int:
    """Say that the agent is there and does not answer; what must always work is done without it."""
    if command in {b"DEL", b"VERSION"}:
        return run_plugin(config)
    return fail(50 if command == b"STATUS" else 11, b"cni-agent does not answer", config)


def run_plugin(config: bytes | None) -> int:
    """Become the plugin itself, its stdin as ours was; return only if it is not there."""
    if config is not None:
        stdin = posix.memfd_create("config", 0)
        posix.write(stdin, config)
        posix.lseek(stdin, 0, 0)
        posix.dup2(stdin, 0)
    try:
        posix.execve(PLUGIN, [PLUGIN], posix.environ)
    except OSError:
        command = posix.environ.get(b"CNI_COMMAND", b"")
        if command == b"VERSION":
            version = find_version(config or b"")
            write_all(1, b'{"cniVersion":"%b","supportedVersions":%b}\n' % (version, VERSIONS))
            return 0
        message = b"cni-agent is not there, and neither is " + PLUGIN
        return fail(50 if command == b"STATUS" else 11, message, config or b"")


def fail(code: int, message: bytes, config: bytes) -> int:
    """Print the SPEC's error object."""
    version = find_version(config)
    write_all(1, b'{"cniVersion":"%b","code":%d,"msg":"%b"}\n' % (version, code, message))
    return 1


def find_version(config: bytes) -> bytes:
    """Return the configuration's version as far as it shows one."""
    after = config.partition(b'"cniVersion"')[2].lstrip(b" \t\r\n:")
    version, end, _ = after[1:].partition(b'"')
    if after[:1] + end != b'""' or not 0 < len(version) < 16 or version.strip(b"0123456789."):
        return b"1.1.0"
    return version


def read_all(source: int) -> bytes:
    """Read to the end; what can't be read is empty."""
    parts = []
    try:
        while part := posix.read(source, 1 << 16):
            parts.append(part)
    except OSError:
        # Closed: the agent has the words for a configuration that is missing.
        return b"".join(parts)
    return b"".join(parts)


def write_all(target: int, data: bytes) -> None:
    """Write everything."""
    while data:
        data = data[posix.write(target, data) :]


# Without the interpreter's clean-up: there is nothing that the kernel does not clean up by itself.
posix._exit(main())
