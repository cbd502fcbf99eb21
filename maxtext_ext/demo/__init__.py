"""The synthetic speech corpus and the end-to-end demonstration."""
