"""MaxText's documented module names, for commands that people already have."""
