"""Configuration keys: names, types, ranges and values, without importing JAX or MaxText."""
