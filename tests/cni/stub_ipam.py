"""An IPAM plugin that gives what a test wants, and writes down how it was called."""

import json
from pathlib import Path
from typing import Any, NamedTuple


class StubIpam(NamedTuple):
    """A program `stub` in a folder for CNI_PATH."""

    folder: Path

    @property
    def config(self) -> dict[str, Any]:
        """The `ipam` section that names it."""
        return {"type": "stub"}

    def calls(self) -> list[str]:
        """Return the commands and containers that it was called with, in order."""
        log = self.folder / "calls"
        return log.read_text().splitlines() if log.exists() else []

    def give(self, container: str, *addresses: str, **more: Any) -> None:
        """Set what a container gets."""
        ips = [{"address": address} for address in addresses]
        (self.folder / f"give-{container}").write_text(json.dumps({"ips": ips, **more}))

    def refuse(self, command: str, **error: Any) -> None:
        """Answer a command with an error from now on."""
        (self.folder / f"refuse-{command}").write_text(json.dumps(error))


def install_stub(folder: Path) -> StubIpam:
    """Write the program."""
    folder.mkdir()
    program = folder / "stub"
    program.write_text(f"""#!/bin/sh
cat > /dev/null
echo "$CNI_COMMAND $CNI_CONTAINERID" | sed 's/ $//' >> {folder}/calls
if [ -e {folder}/refuse-$CNI_COMMAND ]; then cat {folder}/refuse-$CNI_COMMAND; exit 1; fi
if [ $CNI_COMMAND = ADD ]; then cat {folder}/give-$CNI_CONTAINERID; fi
""")
    program.chmod(0o755)
    return StubIpam(folder)
