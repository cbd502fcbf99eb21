"""Steps of an epoch: what a run of so many steps has then really read."""

import pytest

from maxtext_ext.input.datasets import Datasets, NamedData
from maxtext_ext.input.epochs import steps_of
from maxtext_ext.input.filters import Filters
from maxtext_ext.input.packing_config import Packing
from maxtext_ext.input.pipeline import InputConfig, train_iterator
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
from maxtext_ext.text.tokenizer import Tokenizer
from tests import tiny

ROWS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Two datasets of unlike lengths and clips, and a tokenizer."""
  folder = tmp_path_factory.mktemp("data")
  tiny.make_run(folder, train=300)
  tiny.write_split(folder / "short", "train", tiny.records(100, seed=3, seconds=(0.3, 0.5)))
  return folder


def clips_read(config: InputConfig, tokenizer: Tokenizer, steps: int) -> int:
  """Clips in so many batches."""
  batches = train_iterator(config, tokenizer, steps=steps)
  clips = 0
  for _ in range(steps):
    next(batches)
    clips += len(batches.records)
  batches.close()
  return clips


@pytest.mark.parametrize("kind", ["one", "mixture", "filtered"])
def test_a_run_of_so_many_steps_reads_the_data_so_often(folder, kind):
  tokenizer = Tokenizer.from_directory(str(folder / "tokenizer"))
  datasets = Datasets(data_dir=str(folder / "data"))
  if kind == "mixture":
    data = [
      NamedData(name="long", data_dir=str(folder / "data")),
      NamedData(name="short", data_dir=str(folder / "short"), weight=3.0),
    ]
    datasets = Datasets(mixture=data)
  filters = Filters(min_seconds=1.5 if kind == "filtered" else 0.0, max_seconds=8.0)
  config = InputConfig(
    geometry=GEOMETRY,
    datasets=datasets,
    rows=ROWS,
    max_tokens=256,
    packing=Packing(windows_per_row=2, packing_lookahead=64),
    filters=filters,
  )
  steps = steps_of(3.0, config, tokenizer, rows=ROWS)
  assert steps_of(3.0, config, tokenizer, rows=ROWS) == steps
  assert steps_of(6.0, config, tokenizer, rows=2 * ROWS) == pytest.approx(steps, abs=1)
  long = sum(clip.seconds >= filters.min_seconds for clip in tiny.records(300))
  once = long + (100 if kind == "mixture" else 0)
  assert clips_read(config, tokenizer, steps) == pytest.approx(3 * once, rel=0.05)
