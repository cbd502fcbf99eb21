"""MaxText's documented module names, for existing commands."""
