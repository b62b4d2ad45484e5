"""netns-lab doctor."""
