"""One script for each figure that the README quotes; each prints JSON lines."""

import sys
from pathlib import Path

# Python looks beside a script first, where `ipam` would be `bench/ipam.py`: only `bench.ipam` is.
_HERE = Path(__file__).parent
sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != _HERE]
