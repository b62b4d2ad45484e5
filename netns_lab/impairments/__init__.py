"""What is wrong with links: loss, duplicates, rates, delays, cuts; as rules, and in the kernel."""
