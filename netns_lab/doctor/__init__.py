"""`netns-lab doctor`: what this machine lacks, how to get it, and what labs have left behind."""
