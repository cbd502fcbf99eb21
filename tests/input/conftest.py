"""A small tokenizer, shards of short clips whose texts tell them apart, and files of noise."""

import numpy as np
import pytest
import soundfile

from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.datasets import Datasets, NamedData
from maxtext_ext.input.filters import Filters
from maxtext_ext.input.packing_config import Packing
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
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


@pytest.fixture(scope="session")
def config(data_dir):
  """Rows of a few clips, from a short look-ahead."""
  return InputConfig(
    geometry=GEOMETRY,
    datasets=Datasets(data_dir=data_dir),
    rows=2,
    max_tokens=160,
    packing=Packing(windows_per_row=2, packing_lookahead=8, audio_dtype="float32"),
    filters=Filters(max_seconds=5.0),
  )


@pytest.fixture(scope="session")
def faulty_dir(tmp_path_factory, make_record, write_split):
  """Six clips, and six that cannot be used."""
  directory = tmp_path_factory.mktemp("faulty")
  good = [make_record(number) for number in range(6)]
  nan = make_record(6)
  nan.audio[100] = np.nan
  bad = [
    b"no example",
    make_record(7, seconds=0.2),
    make_record(8, seconds=5.5),
    nan,
    make_record(9, text="a" * 150),
    encode_example(make_record(10))[:-1_000],
  ]
  write_split(directory, "train", [*bad, *good])
  return str(directory)


@pytest.fixture(scope="session")
def noise_dir(tmp_path_factory):
  """Two files of noise, of 2 and 7 s."""
  directory = tmp_path_factory.mktemp("noise")
  for number, seconds in enumerate((2, 7)):
    noise = np.random.default_rng(number).uniform(-0.1, 0.1, seconds * 16_000)
    soundfile.write(directory / f"{number}.wav", noise, 16_000)
  return str(directory)


@pytest.fixture(scope="session")
def mixture(tmp_path_factory, make_record, write_split):
  """Three datasets: 0 to 19, 100 to 109 with a bad record, and 200 to 203 in another split."""
  folder = tmp_path_factory.mktemp("mixture")
  datasets = (("long", "train", range(20)), ("short", "train", range(100, 110)))
  for name, split, clips in (*datasets, ("tiny", "more", range(200, 204))):
    (folder / name).mkdir()
    records = [make_record(number) for number in clips]
    write_split(folder / name, split, [*records, b"bad"] if name == "short" else records)
    write_split(folder / name, "validation", records[:3])
  return [
    NamedData(name="a", data_dir=str(folder / "long")),
    NamedData(name="b", data_dir=str(folder / "short")),
    NamedData(name="c", data_dir=str(folder / "tiny"), split="more", weight=3.0),
  ]
