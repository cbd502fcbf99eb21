"""Data chain from records to batches: windows of audio, rows of text, and their iterators."""
