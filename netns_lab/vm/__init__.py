"""A command under a guest kernel that has what this machine's lacks; see `netns-lab vm`."""
