"""A run small enough for tests: seconds of noise, a character tokenizer, some thousand parameters.

Not a model of speech: what is tested with it is arithmetic and bookkeeping.
"""

import pathlib
from collections.abc import Iterable, Sequence

from benchmarks.parity.tiny import DEMO, SHAPE, WORDS, records
from maxtext_ext.records.schema import Record, encode_example
from maxtext_ext.records.writer import ShardWriter
from maxtext_ext.text.tokenizer import train_char_tokenizer

__all__ = ["DEMO", "SHAPE", "WORDS", "last_wins", "make_run", "records", "write_split"]


def write_split(folder: pathlib.Path, split: str, clips: Iterable[Record], shards: int = 2) -> None:
  """ArrayRecord shards of a split."""
  clips = list(clips)
  folder.mkdir(parents=True, exist_ok=True)
  for shard in range(shards):
    path = folder / f"{split}-{shard:05d}-of-{shards:05d}.array_record"
    with ShardWriter(str(path)) as writer:
      for clip in clips[shard::shards]:
        writer.write(encode_example(clip, audio="pcm16"))


def last_wins(keys: Iterable[str]) -> list[str]:
  """`key=value` strings without those that a later one replaces: a command takes a key once."""
  return list({key.partition("=")[0]: key for key in keys}.values())


def make_run(
  folder: pathlib.Path,
  *,
  train: int = 48,
  test: int = 6,
  seconds: tuple[float, float] = (0.3, 3.0),
  words: Sequence[str] = WORDS,
) -> list[str]:
  """Data and tokenizer of a run under `folder`; returns `key=value` strings that point there."""
  clips = records(train, seconds=seconds, words=words)
  write_split(folder / "data", "train", clips)
  write_split(folder / "data", "validation", records(test, seed=1, words=words), shards=1)
  write_split(folder / "data", "test", records(test, seed=2, words=words), shards=1)
  train_char_tokenizer((clip.text for clip in clips), folder / "tokenizer", ["English", "Hebrew"])
  return [
    f"data_dir={folder / 'data'}",
    f"tokenizer_path={folder / 'tokenizer'}",
    f"base_output_directory={folder / 'runs'}",
    "curriculum=[]",
    "max_target_length=256",
    "windows_per_row=3",
    "max_seconds=8",
    "packing_lookahead=512",  # what the demo is tuned to is no matter of the tests
    "eval_interval=-1",  # else each run would be evaluated at its end
    *SHAPE,
  ]
