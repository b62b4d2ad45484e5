"""What at least two of nodeplane's programs share, and nothing else."""
