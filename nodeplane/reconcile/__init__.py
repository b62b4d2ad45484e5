"""From what is wanted and what is there to what has to change."""
