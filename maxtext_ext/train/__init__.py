"""Training: loss, step, checkpoints in the loop, metrics, and the loop itself."""
