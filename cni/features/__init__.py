"""What a pod's link has beyond its wiring: source check, host ports, masquerade, bandwidth."""
