"""The guest of `netns-lab vm`."""
