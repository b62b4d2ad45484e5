"""One script for each figure that the README quotes; each prints JSON lines."""
