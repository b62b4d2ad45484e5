"""New TCP connections one after the other, as cheaply as this machine can: in C if it has a compiler.

Both loops take the same arguments and print the same line (see `connect_loop.c`).
"""

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

_SOURCE = Path(__file__).with_name("connect_loop.c")

_LEAN_LOOP = """
import socket, struct, sys, time
mode, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
if mode == "listen":
    server = socket.create_server((address, port), family=family, backlog=4096)
    print("ready", flush=True)
    while True:
        server.accept()[0].close()
reset, clock, to, times, failed = struct.pack("ii", 1, 0), time.monotonic_ns, (address, port), [], 0
begin = then = clock()
end = begin + int(float(sys.argv[4]) * 1e9)
while then < end:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 500_000))
        before = clock()
        try:
            client.connect(to)
        except OSError:
            failed += 1
            then = clock()
        else:
            then = clock()
            times.append(then - before)
times.sort()
p50, p99 = (times[(len(times) - 1) * percent // 100] if times else 0 for percent in (50, 99))
print(len(times), failed, p50, p99, (then - begin) / 1e9, time.process_time())
"""


class Run(msgspec.Struct, frozen=True):
    """What one client loop did."""

    made: int
    failed: int
    p50_us: float
    p99_us: float
    seconds: float
    cpu_s: float

    @property
    def per_s(self) -> float:
        """Connections a second."""
        return self.made / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU time of a connection: the way there and back is worked off in the client's own system calls."""
        return self.cpu_s / self.made * 1e6


class ConnectLoop:
    """The loop as a command, compiled into a directory; `language` says which one it is."""

    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("cc")
        if compiler:
            program = directory / "connect_loop"
            subprocess.run([compiler, "-O2", "-o", program, _SOURCE], check=True)
            self.language, self._command = "C", [str(program)]
        else:
            self.language, self._command = "Python", [sys.executable, "-I", "-S", "-c", _LEAN_LOOP]

    def listen(self, address: str, port: int) -> "subprocess.Popen[str]":
        """Start a server in the namespace that this thread is in; it listens when this returns."""
        process = subprocess.Popen(
            [*self._command, "listen", address, str(port)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def connect(self, address: str, port: int, seconds: float) -> Run:
        """Connect for so long from the namespace that this thread is in."""
        done = subprocess.run(
            [*self._command, "connect", address, str(port), str(seconds)],
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            timeout=seconds + 60,
        )
        made, failed, p50, p99, took, cpu = done.stdout.split()
        return Run(int(made), int(failed), int(p50) / 1000, int(p99) / 1000, float(took), float(cpu))
