"""Programs for the machine that drives a TPU slice: standard library only, Python 3.9 or newer."""
