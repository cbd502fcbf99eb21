"""How much of a batch is real: our packing beside padded batches, on log-normal clip durations.

    python benchmarks/packing.py

Durations: median 6 s, sigma 0.7, clipped to 0.5-30 s; 4 text tokens a second and the prompt of the
real template. Padded batches pad every clip of 32 to the longest of them. The last line is JSON.
"""

import json
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from maxtext_ext.audio.frames import CHUNKS_PER_WINDOW, FRAMES_PER_CHUNK, audio_tokens
from maxtext_ext.input.packing import choose_windows, pack

SEED = 0
CLIPS = 30_000
SAMPLED = 1024  # clips that the number of windows is chosen from
MAX_TOKENS = 2048
BATCH = 32
TEMPLATE_TOKENS = 18  # prompt and `language X<asr_text>` of Qwen3-ASR, without the audio
REPEATS = 3


def draw_lengths() -> tuple[np.ndarray, np.ndarray]:
  """Text tokens and chunks of the clips."""
  rng = np.random.default_rng(SEED)
  seconds = np.clip(6 * np.exp(0.7 * rng.standard_normal(CLIPS)), 0.5, 30)
  frames = (seconds * 100).astype(int)
  tokens = audio_tokens(frames) + np.rint(4 * seconds).astype(int) + TEMPLATE_TOKENS
  return tokens, -(-frames // FRAMES_PER_CHUNK)


def padded_fill(lengths: np.ndarray) -> float:
  """Share of real slots when each batch of 32 in this order is padded to its longest clip."""
  batches = lengths[: len(lengths) // BATCH * BATCH].reshape(-1, BATCH)
  return float(batches.sum() / (batches.max(axis=1) * BATCH).sum())


def main() -> None:
  """Measures, and prints the table and the JSON line."""
  tokens, chunks = draw_lengths()
  windows = choose_windows(tokens[:SAMPLED], chunks[:SAMPLED], MAX_TOKENS)
  lengths = np.stack([tokens, chunks], axis=1).tolist()
  seconds = []
  for _ in range(REPEATS):
    start = time.perf_counter()
    rows = sum(1 for _ in pack(lengths, max_tokens=MAX_TOKENS, windows=windows))
    seconds.append(time.perf_counter() - start)
  token_fill = float(tokens.sum() / (rows * MAX_TOKENS))
  chunk_fill = float(chunks.sum() / (rows * windows * CHUNKS_PER_WINDOW))
  clips_per_second = CLIPS / min(seconds)
  random_fill = padded_fill(tokens)
  by_length = np.argsort(tokens, kind="stable")
  table = Table(
    min_width=90, title=f"{CLIPS} clips; rows of {MAX_TOKENS} tokens and {windows} windows"
  )
  for column in ("batches", "token slots real", "chunk slots real", "clips a second"):
    table.add_column(column, justify="right" if column != "batches" else "left")
  table.add_row("packed rows", f"{token_fill:.1%}", f"{chunk_fill:.1%}", f"{clips_per_second:,.0f}")
  table.add_row(
    f"{BATCH} at random, padded", f"{random_fill:.1%}", f"{padded_fill(chunks):.1%}", ""
  )
  sorted_fills = (f"{padded_fill(lengths[by_length]):.1%}" for lengths in (tokens, chunks))
  table.add_row(f"{BATCH} of similar length, padded", *sorted_fills, "")
  Console(width=100).print(table)
  figures = {
    "name": "packing",
    "ours": round(token_fill, 4),
    "peer": round(random_fill, 4),
    "ratio": round(token_fill / random_fill, 3),
    "unit": "fraction of slots",
    "token_fill": round(token_fill, 4),
    "chunk_fill": round(chunk_fill, 4),
    "clips_per_second": round(clips_per_second),
  }
  print(json.dumps(figures))


if __name__ == "__main__":
  main()
