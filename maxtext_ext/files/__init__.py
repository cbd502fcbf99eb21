"""Files, below all that knows what is in them: which may be opened, and how."""
