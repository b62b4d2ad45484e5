"""What the kernel's own rules and maps will do with a connection; see `walk`."""
