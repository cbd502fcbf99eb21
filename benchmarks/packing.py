"""Share of non-padding in a batch: packing compared with padding, for several durations.

    python benchmarks/packing.py

4 text tokens a second and the prompt of the real template; rows of 2048 tokens, of as many windows
as `choose_windows` finds. Padded batches pad every clip of 32 to the longest of them. No clip's
tail is split over windows of 8 s, which limits the chunk slots that can be filled: that limit is
given beside them, by packing the tails of all clips at once. A JSON line each, the last one of
log-normal durations.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from maxtext_ext.input.bin_packing import TailPacker
from maxtext_ext.input.packing import choose_windows, pack
from maxtext_ext.input.windows import alone_and_tail
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY

SEED = 0
CLIPS = 30_000
SAMPLED = 1024  # clips that the number of windows is chosen from
MAX_TOKENS = 2048
BATCH = 32
TEMPLATE_TOKENS = 18  # prompt and `language X<asr_text>` of Qwen3-ASR, without the audio


def log_normal(rng: np.random.Generator) -> np.ndarray:
  """Draws log-normal durations, median 6 s, sigma 0.7."""
  return np.clip(6 * np.exp(0.7 * rng.standard_normal(CLIPS)), 0.5, 30)


def read_books(rng: np.random.Generator) -> np.ndarray:
  """Draws three quarters of 12 to 16 s, as in LibriSpeech, the others shorter."""
  long, short = rng.normal(14, 1.5, CLIPS), rng.uniform(2, 13, CLIPS)
  return np.clip(np.where(rng.random(CLIPS) < 0.75, long, short), 0.5, 30)


def read_sentences(rng: np.random.Generator) -> np.ndarray:
  """Draws 3 to 7 s, as in Common Voice."""
  return np.clip(rng.normal(5, 1.5, CLIPS), 1.5, 10)


def with_cut_speech(rng: np.random.Generator) -> np.ndarray:
  """Draws log-normal ones and as many of just under 30 s, like cut long recordings."""
  cut = 30 - np.minimum(rng.exponential(0.6, CLIPS), 5)
  return np.where(rng.random(CLIPS) < 0.5, cut, log_normal(rng))


DURATIONS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
  "read_books": read_books,
  "read_sentences": read_sentences,
  "with_cut_speech": with_cut_speech,
  "log_normal": log_normal,
}


@dataclass(frozen=True, kw_only=True)
class Measured:
  """Results for one kind of durations."""

  windows: int
  token_fill: float
  chunk_fill: float
  most_chunks: float
  padded_fill: float
  padded_by_length: float
  clips_per_second: float


def measure(seconds: np.ndarray) -> Measured:
  """Packs clips of these durations in order, and compares with padding them."""
  frames = (seconds * 100).astype(int)
  tokens = GEOMETRY.tokens(frames) + np.rint(4 * seconds).astype(int) + TEMPLATE_TOKENS
  chunks = -(-frames // GEOMETRY.frames_per_chunk)
  windows = choose_windows(tokens[:SAMPLED], chunks[:SAMPLED], MAX_TOKENS, GEOMETRY)
  lengths = np.stack([tokens, chunks], axis=1).tolist()
  start = time.process_time()
  rows = sum(1 for _ in pack(lengths, geometry=GEOMETRY, max_tokens=MAX_TOKENS, windows=windows))
  elapsed = time.process_time() - start
  full, tail = alone_and_tail(chunks, GEOMETRY)
  needed = int(full.sum()) + TailPacker.of(tail.tolist(), GEOMETRY.chunks_per_window).windows
  return Measured(
    windows=windows,
    token_fill=float(tokens.sum() / (rows * MAX_TOKENS)),
    chunk_fill=float(chunks.sum() / (rows * windows * GEOMETRY.chunks_per_window)),
    most_chunks=float(chunks.sum() / (needed * GEOMETRY.chunks_per_window)),
    padded_fill=padded_fill(tokens),
    padded_by_length=padded_fill(np.sort(tokens)),
    clips_per_second=len(seconds) / elapsed,
  )


def padded_fill(lengths: np.ndarray) -> float:
  """Computes the share of real slots when batches of 32, in order, are padded to the longest."""
  batches = lengths[: len(lengths) // BATCH * BATCH].reshape(-1, BATCH)
  return float(batches.sum() / (batches.max(axis=1) * BATCH).sum())


def main() -> None:
  """Measures, and prints the table and the JSON lines."""
  table = Table(title=f"{CLIPS} clips in rows of {MAX_TOKENS} tokens; shares of real slots")
  table.add_column("durations", no_wrap=True)
  for column in (
    *("windows", "tokens", "chunks", "at most"),
    *("padded at random", "of similar length", "clips a second"),
  ):
    table.add_column(column, justify="right")
  lines = []
  for name, draw in DURATIONS.items():
    got = measure(draw(np.random.default_rng(SEED)))
    shares = (got.token_fill, got.chunk_fill, got.most_chunks, got.padded_fill)
    table.add_row(
      *(name.replace("_", " "), str(got.windows)),
      *(f"{share:.1%}" for share in (*shares, got.padded_by_length)),
      f"{got.clips_per_second:,.0f}",
    )
    lines.append(
      {
        "name": "packing" if name == "log_normal" else f"packing_{name}",
        "ours": got.token_fill,
        "peer": got.padded_fill,
        "ratio": round(got.token_fill / got.padded_fill, 3),
        "unit": "fraction of slots",
        "token_fill": got.token_fill,
        "chunk_fill": got.chunk_fill,
        "most_chunk_fill": got.most_chunks,
        "clips_per_second": round(got.clips_per_second),
      }
    )
  Console(width=110).print(table)
  for line in lines:
    print(json.dumps(line))


if __name__ == "__main__":
  main()
