"""What is wrong with links."""
