"""Configuration keys: names, types, ranges and values, read without JAX and MaxText."""
