"""Text side: languages, tokenizer and the Qwen3-ASR prompt and target template."""
