import hub_server
import numpy as np
import pytest
import recipe_files
import recipe_scripts
import soundfile

from maxtext_ext.records.schema import decode_example, encode_example

pytestmark = pytest.mark.integration_test


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
  """Folders of both corpora, as they are on the hub."""
  transcribe = [
    *recipe_files.transcribe_rows(0, 60),
    recipe_files.transcribed(900, seconds=0.4),
    recipe_files.transcribed(901, seconds=30.1),
    recipe_files.transcribed(902, text="<|0.00|> ...<|0.50|>"),
    {**recipe_files.transcribed(903), "audio": {"bytes": b"RIFF broken", "path": "b.wav"}},
  ]
  folder = tmp_path_factory.mktemp("source")
  path = folder / "transcribe/data/train-0000{}-of-00002.parquet"
  recipe_files.write(str(path).format(0), transcribe[:40], recipe_files.TRANSCRIBE)
  recipe_files.write(str(path).format(1), transcribe[40:], recipe_files.TRANSCRIBE)
  recipe_files.write(
    folder / "transcribe/data/test-00000-of-00001.parquet",
    recipe_files.transcribe_rows(5_000, 3),
    recipe_files.TRANSCRIBE,
  )
  recipe_files.write(
    folder / "recital/data/train-00000-of-00001.parquet",
    recipe_files.recital_rows(range(20)),
    recipe_files.RECITAL,
  )
  return folder


def arguments(sources, out):
  return [
    *(out, "--crowd-transcribe", sources / "transcribe", "--crowd-recital", sources / "recital"),
    *("--max-bad-fraction", 0.05),
  ]


def test_the_whole_recipe(sources, tmp_path):
  out, jsonl = tmp_path / "out", tmp_path / "jsonl"
  printed = recipe_scripts.run(
    "prepare_hebrew.py", *arguments(sources, out), "--jsonl", jsonl, "--workers", 2
  )

  rows = recipe_scripts.counts(printed)
  train, validation = rows["crowd-transcribe train"][4:]
  assert rows["crowd-transcribe train"] == (64, 60, 1, 3, train, validation)
  assert rows["crowd-recital train"][:4] == (60, 60, 0, 0)
  for reason in ("shorter than 0.5 s", "longer than 30 s", "no words after normalisation"):
    assert f"crowd-transcribe train: 1 left out, {reason}" in printed
  assert f"  - {{name: crowd-recital, data_dir: {out}/crowd-recital}}" in printed

  everything = {}
  for name, dataset in (
    ("crowd-transcribe", "ivrit-ai/crowd-transcribe-v5"),
    ("crowd-recital", "ivrit-ai/crowd-recital-whisper-training"),
  ):
    for split in ("train", "validation"):
      records = recipe_scripts.read(out / name, split)
      assert {record.language for record in records} <= {"Hebrew"}
      assert {record.dataset_name for record in records} <= {dataset}
      assert all(record.audio.dtype == np.int16 for record in records)
      everything[name, split] = records
  assert (train, validation) == (
    len(everything["crowd-transcribe", "train"]),
    len(everything["crowd-transcribe", "validation"]),
  )
  assert 0 < validation < 15

  first = everything["crowd-transcribe", "train"][0]
  number = int(first.sample_id[:8], 16)
  assert first.text == f"משפט מספר {number}."
  recited = [*everything["crowd-recital", "train"], *everything["crowd-recital", "validation"]]
  assert {record.text for record in recited} == {"שלום עולם!"}
  assert {len(record.audio) for record in recited} == {24_000}  # up to the segment that is missing
  assert len({record.sample_id for record in recited}) == 60
  assert "rec-7-29.98" in {record.sample_id for record in recited}
  recordings = [
    {record.sample_id.rpartition("-")[0] for record in everything["crowd-recital", split]}
    for split in ("train", "validation")
  ]
  assert not recordings[0] & recordings[1]

  for split in ("train", "validation"):
    records = [*everything["crowd-transcribe", split], *everything["crowd-recital", split]]
    lines = list(recipe_scripts.read_lines(jsonl / f"{split}.jsonl"))
    assert [line["text"] for line in lines] == [
      f"language Hebrew<asr_text>{record.text}" for record in records
    ]
    for record, line in zip(records, lines, strict=True):
      samples, rate = soundfile.read(line["audio"], dtype="int16")
      assert rate == 16_000
      np.testing.assert_array_equal(samples, record.audio)

  before = recipe_scripts.snapshot(tmp_path)
  printed = recipe_scripts.run("prepare_hebrew.py", *arguments(sources, out), "--jsonl", jsonl)
  assert printed.count("complete already, nothing to do") == 2
  assert recipe_scripts.counts(printed) == rows
  assert recipe_scripts.snapshot(tmp_path) == before


def test_from_the_hub_by_id(sources, tmp_path):
  files = {
    str(path.relative_to(sources / "transcribe")): path.read_bytes()
    for path in (sources / "transcribe").rglob("*.parquet")
  }
  with hub_server.serve() as hub:
    hub.repos["ivrit-ai/crowd-transcribe-v5"] = hub_server.Repo(revisions={"main": files})
    printed = recipe_scripts.run(
      *("prepare_hebrew.py", tmp_path / "out", "--only", "crowd-transcribe"),
      *("--max-bad-fraction", 0.05, "--audio", "keep"),
      HF_ENDPOINT=hub.url,
      HF_HOME=str(tmp_path / "cache"),
    )
    assert len(hub.downloads()) == 2  # not the test split
  assert recipe_scripts.counts(printed)["crowd-transcribe train"][:4] == (64, 60, 1, 3)
  assert f"data_dir: {tmp_path}/out/crowd-transcribe\n" in printed
  from_hub = recipe_scripts.read(tmp_path / "out/crowd-transcribe", "train")
  recipe_scripts.run("prepare_hebrew.py", *arguments(sources, tmp_path / "b"), "--audio", "keep")
  from_folder = recipe_scripts.read(tmp_path / "b/crowd-transcribe", "train")
  assert [encode_example(record) for record in from_hub] == [
    encode_example(record) for record in from_folder
  ]
  assert from_hub[0].audio.dtype == np.float32
  assert decode_example(encode_example(from_hub[0], audio="pcm16")).seconds == 1.0


def test_too_much_that_is_broken_stops_it(sources, tmp_path):
  args = [tmp_path / "out", "--only", "crowd-transcribe", "--crowd-transcribe"]
  error = recipe_scripts.run("prepare_hebrew.py", *args, sources / "transcribe", ok=False)
  assert "error: 1 of 64 records are bad" in error
  assert "bad: " in error and "train-00001-of-00002.parquet:23" in error


@pytest.mark.parametrize(
  ("args", "said"),
  [
    (["--only", "crowd"], "'crowd' is no source, expected one of"),
    (["--crowd-transcribe", "/nowhere/at/all"], "/nowhere/at/all"),
    (["--min-seconds", "40"], "min_seconds is 40"),
  ],
)
def test_what_is_wrong_is_one_line(sources, tmp_path, args, said):
  error = recipe_scripts.run(
    "prepare_hebrew.py", *arguments(sources, tmp_path / "out"), *args, ok=False
  )
  assert error.startswith("error: ") and error.count("\n") == 1
  assert said in error
