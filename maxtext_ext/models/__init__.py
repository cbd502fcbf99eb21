"""Speech encoders, the projector, and the speech language model."""
