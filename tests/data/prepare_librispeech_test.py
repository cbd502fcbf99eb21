import pyarrow as pa
import pytest
import recipe_files
import recipe_scripts

from tests.sources.librispeech_test import chapter
from tests.sources.manifests import sound_bytes, write_tar

pytestmark = pytest.mark.integration_test

SCHEMA = pa.schema(
  [
    ("file", pa.string()),
    ("audio", recipe_files.AUDIO),
    ("text", pa.string()),
    ("speaker_id", pa.int64()),
    ("chapter_id", pa.int64()),
    ("id", pa.string()),
  ]
)


def row(speaker, number, index):
  name = f"{speaker}-{number}-{index:04d}"
  return {
    "file": f"/x/{name}.flac",
    "audio": {"bytes": sound_bytes(0, 1), "path": f"{name}.flac"},
    "text": f"TEXT {name}",
    "speaker_id": speaker,
    "chapter_id": number,
    "id": name,
  }


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
  """The configs clean and other, and in another folder the config all."""
  root = tmp_path_factory.mktemp("parquet")
  rows = [row(84, number, index) for number in (1, 2, 3, 4) for index in range(3)]
  for path in ("a/clean/train.100", "a/clean/train.360", "b/all/train.clean.100"):
    recipe_files.write(root / path / "0000.parquet", rows, SCHEMA)
  for path in ("a/clean/validation", "a/other/validation", "b/all/validation.clean"):
    recipe_files.write(root / path / "0000.parquet", rows[:4], SCHEMA)
  return root


def only(*names):
  return [arg for name in names for arg in ("--only", name)]


def records(out, split):
  return sorted(
    (record.sample_id, record.text, record.speaker, record.language, record.audio.tobytes())
    for record in recipe_scripts.read(out / "librispeech", split)
  )


def test_parquet_and_archives_make_the_same_records(parquet, tmp_path):
  chosen = only("train-clean-100", "dev-clean")
  printed = recipe_scripts.run(
    *("prepare_librispeech.py", tmp_path / "a", "--source", parquet / "a", *chosen)
  )
  assert recipe_scripts.shard_counts(tmp_path / "a/librispeech") == {
    "train-clean-100": 8,
    "dev-clean": 1,
  }
  assert "train-clean-100: INCOMPLETE: 12 utterances, of 28,539 published" in printed
  assert f"data_dir: {tmp_path}/a/librispeech\ntrain_split: train-clean-100\n" in printed

  train = records(tmp_path / "a", "train-clean-100")
  assert len(train) == 12
  assert train[0][:4] == ("84-1-0000", "text 84-1-0000", "84", "English")
  recipe_scripts.run(
    "prepare_librispeech.py", tmp_path / "b", "--source", parquet / "b", *chosen, "--workers", 2
  )
  assert records(tmp_path / "b", "train-clean-100") == train

  tars = tmp_path / "tars"
  tars.mkdir()
  members = [each for number in (1, 2, 3, 4) for each in chapter(84, number, 3, last=number % 2)]
  write_tar(tars / "train-clean-100.tar", *members)
  write_tar(tars / "dev-clean.tar", *members[:4], *chapter(84, 2, 1))
  args = ("prepare_librispeech.py", tmp_path / "c", "--source", tars, *chosen)
  recipe_scripts.run(*args)
  assert records(tmp_path / "c", "train-clean-100") == train
  assert records(tmp_path / "c", "dev-clean") == records(tmp_path / "a", "dev-clean")

  before = recipe_scripts.snapshot(tmp_path / "c")
  assert recipe_scripts.run(*args).count("complete already, nothing to do") == 2
  assert recipe_scripts.snapshot(tmp_path / "c") == before
  error = recipe_scripts.run(*args, *only("test-other"), ok=False)
  assert "no archive test-other.tar.gz in it" in error and "--only dev-clean" in error
