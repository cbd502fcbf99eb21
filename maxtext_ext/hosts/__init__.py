"""A run on several hosts: who takes part, the start together, and what follows when one is lost."""
