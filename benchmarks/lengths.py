"""Stored lengths: seconds before the first batch of decoding, and records read in an evaluation.

    python benchmarks/lengths.py

A synthetic split (noise of 2 to 10 s as 16-bit samples, texts of 20 to 120 characters) is written
to a temporary folder. Decoding is timed to its first batch three times: without lengths beside the
shards, which makes them; with them; and, as `peer`, after every record was read and tokenized to
learn its length. The system still holds the files in memory, which favours the peer.

Then four hosts of an evaluation are run one after another in this process, and the records that
each reads are counted; the peer reads the whole split on each. A JSON line for each of the two.
"""

import argparse
import collections
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.mixture import SequentialOrder
from maxtext_ext.input.pipeline import Datasets, decode_split, eval_iterator
from maxtext_ext.input.reading import ReadElement, open_data
from maxtext_ext.input.transforms import BuildUtterance, Chain, DecodeRecord
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
from maxtext_ext.records.reader import RecordSource
from maxtext_ext.records.schema import Record, encode_example
from maxtext_ext.records.writer import ShardWriter
from maxtext_ext.text.tokenizer import Tokenizer, train_char_tokenizer

SHARDS = 4
HOSTS = 4
LETTERS = "abcdefghijklmnopqrstuvwxyz "


def main() -> None:
  """Measures, and prints the JSON lines."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--records", type=int, default=5_000)
  parser.add_argument("--audio", choices=("pcm16", "flac"), default="pcm16")
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    write_split(Path(folder), options.records, options.audio)
    tokenizer = train_char_tokenizer([LETTERS], Path(folder) / "tokenizer", ["English"])
    config = InputConfig(
      geometry=GEOMETRY, datasets=Datasets(data_dir=folder), split="test", rows=16
    )
    scan, stored = (seconds_to_first_clip(config, tokenizer) for _ in range(2))
    peer = stored + seconds_to_read(config, tokenizer)
    reads = [records_read(config, tokenizer, host) for host in range(HOSTS)]
  report("first_clip_of_decoding", stored, peer, "s", without_lengths=round(scan, 3))
  report("records_read_by_a_host", max(reads), options.records, "records", of_each_host=reads)


def write_split(folder: Path, count: int, audio: str) -> None:
  """Writes the shards."""
  rng = np.random.default_rng(0)
  for shard in range(SHARDS):
    path = folder / f"test-{shard:05d}-of-{SHARDS:05d}.array_record"
    with ShardWriter(str(path)) as writer:
      for number in range(shard, count, SHARDS):
        samples = rng.integers(-9_000, 9_000, rng.integers(32_000, 160_000), np.int16)
        text = "".join(rng.choice(list(LETTERS), rng.integers(20, 120))).strip() or "a"
        record = Record(sample_id=f"clip{number}", audio=samples, text=text, language="English")
        writer.write(encode_example(record, audio=audio))


def seconds_to_first_clip(config: InputConfig, tokenizer: Tokenizer) -> float:
  """Seconds from opening the split to its first clip."""
  began = time.perf_counter()
  clips = iter(decode_split(config, tokenizer))
  next(clips)
  seconds = time.perf_counter() - began
  clips.close()
  return seconds


def seconds_to_read(config: InputConfig, tokenizer: Tokenizer) -> float:
  """Seconds to read and tokenize every record."""
  began = time.perf_counter()
  data = open_data(config)
  steps = (
    ReadElement(datasets=(data,)),
    DecodeRecord(),
    BuildUtterance.from_config(config, tokenizer),
  )
  order, chain = SequentialOrder(len(data)), Chain(steps)
  for place in range(len(order)):
    chain.map(order[place])
  return time.perf_counter() - began


def records_read(config: InputConfig, tokenizer: Tokenizer, host: int) -> int:
  """Records that a host of an evaluation reads."""
  counts = collections.Counter()
  read = RecordSource.__getitem__

  def counted(self: RecordSource, index: int) -> bytes:
    counts[index] += 1
    return read(self, index)

  RecordSource.__getitem__ = counted
  try:
    for _ in eval_iterator(config, tokenizer, host_index=host, host_count=HOSTS):
      pass
  finally:
    RecordSource.__getitem__ = read
  return counts.total()


def report(name: str, ours: float, peer: float, unit: str, **more: object) -> None:
  """Prints a JSON line."""
  figures = {"ours": round(ours, 3), "peer": round(peer, 3), "ratio": round(peer / ours, 1)}
  print(json.dumps({"name": name, **figures, "unit": unit, **more}))


if __name__ == "__main__":
  main()
