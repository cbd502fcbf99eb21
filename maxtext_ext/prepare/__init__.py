"""Recipes of data sets: their sources, the clips taken from them, and the split of each clip."""
