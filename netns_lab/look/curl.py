"""A request by curl from a place of the lab, and what curl knows of it."""

import json
import shutil
import subprocess
from typing import Any

import msgspec

from netns_lab.execute import Place, place_command, place_namespace
from netns_lab.look.place import place_name
from netns_lab.state import StateDirectory
from nodeplane.datapath import netns
from nodeplane.errors import SetupError

# What stands between the body and curl's own words, and in no body.
_BORDER = "\n--netns-lab-e0c1f3b5--\n"

# curl(1), --write-out.
_TIMES = {
    "name": "time_namelookup",
    "connected": "time_connect",
    "first_byte": "time_starttransfer",
    "whole": "time_total",
}


class Request(msgspec.Struct, frozen=True):
    """What is asked for; with `data` it is a POST."""

    url: str
    limit_s: float
    headers: tuple[str, ...] = ()
    data: str | None = None


def send_request(state: StateDirectory, place: Place, request: Request) -> dict[str, Any]:
    """Send a request and return the answer, or why there is none.

    Raises:
        SetupError: there is no curl.
    """
    if shutil.which("curl") is None:
        raise SetupError("curl: expected in PATH, it is in Debian's package curl")
    options = ["-sS", "--globoff", "--max-time", str(request.limit_s), "-w", f"{_BORDER}%{{json}}"]
    options += [word for header in request.headers for word in ("-H", header)]
    # Proxies of the caller's are not reached from a pod; --data-raw takes no @FILE.
    options += ["--noproxy", "*", *(("--data-raw", request.data) if request.data is not None else ())]
    command = place_command(state, place, ("curl", *options, "--", request.url))
    with netns.inside(netns.NETNS_DIR / place_namespace(state.lab, place)):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    body, _, told = done.stdout.decode(errors="replace").rpartition(_BORDER)
    return build_report(place_name(place), request.url, body, told, done.stderr.decode(errors="replace"))


def build_report(place: str, url: str, body: str, told: str, errors: str) -> dict[str, Any]:
    """Return what is known of a request: curl's words (JSON) and its error, if there was one."""
    try:
        facts = json.loads(told)
    except ValueError:
        facts = {}
    status = int(facts.get("http_code") or 0)
    return {
        "from": place,
        "url": url,
        "status": status,
        "remote": _end(facts.get("remote_ip"), facts.get("remote_port")),
        "local": _end(facts.get("local_ip"), facts.get("local_port")),
        "milliseconds": {
            name: round(float(facts[field]) * 1000, 2) for name, field in _TIMES.items() if field in facts
        },
        "body": body,
        "error": errors.strip() if not status else f"status {status}" if status >= 400 else "",
    }


def _end(address: str | None, port: int | None) -> str:
    if not address:
        return ""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
