"""The constant rules of our tables, and the form of the maps that they read."""
