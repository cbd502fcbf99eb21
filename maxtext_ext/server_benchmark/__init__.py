"""Benchmark of OpenAI-compatible servers: error rates, latency, throughput and failures."""
