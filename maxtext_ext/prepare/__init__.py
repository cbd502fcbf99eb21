"""Recipes of data sets: which sources, which clips of them, and in which part each clip stands."""
