"""Transcription: generation with a key-value cache, and the hypotheses it writes."""
