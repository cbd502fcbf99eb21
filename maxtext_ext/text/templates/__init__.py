"""Templates of prompt and target, by model family."""
