import pytest

from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.datasets import Datasets, NamedData
from maxtext_ext.input.reading import open_data
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY


@pytest.fixture
def config(tmp_path, make_record, write_split):
  """Corpora with and without validation and test; `sub` keeps its splits in folders."""
  splits = {"all": ("train", "validation", "test"), "tested": ("train", "test"), "sub": ("train",)}
  for name, names in splits.items():
    for split in names:
      folder = tmp_path / name / split if name == "sub" else tmp_path / name
      folder.mkdir(parents=True, exist_ok=True)
      write_split(folder, split, [make_record(number) for number in range(3)])
  data = [NamedData(name=name, data_dir=str(tmp_path / name)) for name in ("all", "tested")]
  return InputConfig(geometry=GEOMETRY, datasets=Datasets(mixture=data))


def records_of(config, split):
  return len(open_data(config.for_split(split)))


def test_of_a_mixture_the_folders_count_that_have_the_split(config):
  assert [records_of(config, split) for split in ("train", "validation", "test")] == [*(6, 3, 6)]
  with pytest.raises(ValueError, match="no shards of split 'dev'"):
    records_of(config, "dev")


def test_a_folder_without_shards_is_an_error(config, tmp_path):
  for name in ("sub", "nowhere"):
    data = [*config.datasets.mixture, NamedData(name=name, data_dir=str(tmp_path / name))]
    wrong = InputConfig(geometry=GEOMETRY, datasets=Datasets(mixture=data))
    with pytest.raises(ValueError, match=f"{name}: no shards of split 'validation'"):
      records_of(wrong, "validation")
