"""Programs for the machine that drives a TPU slice: Python's standard library only, 3.9 or newer."""
