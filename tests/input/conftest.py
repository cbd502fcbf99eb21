"""A small tokenizer, and shards of short clips whose texts tell them apart."""

import numpy as np
import pytest

from maxtext_ext.records.schema import Record, encode_example
from maxtext_ext.records.writer import ShardWriter
from maxtext_ext.text.tokenizer import train_char_tokenizer

CLIPS = 48


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
  directory = tmp_path_factory.mktemp("tokenizer")
  return train_char_tokenizer(["abc 0123456789"], directory, ["English", "Hebrew"])


@pytest.fixture(scope="session")
def make_record():
  """Clip `number`: 0.5 to 3 s of noise, text of 1 to 3 words that ends with the number."""

  def make(number, *, seconds=None, **fields):
    rng = np.random.default_rng(number)
    length = rng.integers(8_000, 48_000) if seconds is None else round(seconds * 16_000)
    return Record(
      **{
        "sample_id": f"clip{number}",
        "audio": rng.uniform(-0.5, 0.5, length).astype(np.float32),
        "text": " ".join(["a"] * (number % 3) + [str(number)]),
        "dataset_name": "noise",
        "language": ("English", "Hebrew")[number % 2],
        **fields,
      }
    )

  return make


@pytest.fixture(scope="session")
def write_split():
  """Writes records (or bytes) as the shards of a split."""

  def write(directory, split, records, shards=2):
    encoded = [r if isinstance(r, bytes) else encode_example(r) for r in records]
    for shard in range(shards):
      name = f"{split}-{shard:05d}-of-{shards:05d}.array_record"
      with ShardWriter(str(directory / name)) as writer:
        for data in encoded[shard::shards]:
          writer.write(data)

  return write


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory, make_record, write_split):
  directory = tmp_path_factory.mktemp("data")
  write_split(directory, "train", [make_record(number) for number in range(CLIPS)])
  return str(directory)
