"""Checkpoints: of training runs, converted models and LoRA adapters."""
