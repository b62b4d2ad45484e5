"""Real container runtimes on lab nodes, with the plugin of this tree in their folders."""
