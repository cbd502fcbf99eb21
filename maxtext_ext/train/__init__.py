"""Training: set-up, step, loop, metrics, and evaluation in the loop."""
