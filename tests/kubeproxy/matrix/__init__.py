"""What kube-proxy's users rely on, row by row, with real packets and by the walker."""
