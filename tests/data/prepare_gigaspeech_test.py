import json

import hub_server
import numpy as np
import pyarrow as pa
import pytest
import recipe_files
import recipe_scripts
import soundfile

from tests.prepare.gigaspeech_segments_test import document, recording, segment
from tests.sources.gigaspeech_test import write_chunk
from tests.sources.manifests import sound_bytes

pytestmark = pytest.mark.integration_test

SCHEMA = pa.schema(
  [
    ("segment_id", pa.string()),
    ("speaker", pa.string()),
    ("text", pa.string()),
    ("audio", recipe_files.AUDIO),
    ("begin_time", pa.float32()),
    ("source", pa.int64()),
  ]
)
TEXTS = {
  "A": "FOUR O'CLOCK <COMMA> SAID WILLIAMS <PERIOD>",
  "B": "<MUSIC>",
  "C": "E-COMMERCE <QUESTIONMARK>",
  "D": "<SIL>",
  "E": "<SIL>",
}
WORDS = {"A": "four o'clock said williams", "C": "e-commerce"}
MARKED = {"A": "four o'clock, said williams.", "C": "e-commerce?"}
SPLITS = {"train": "xs", "validation": "dev", "test": "test"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  """The three forms."""
  root = tmp_path_factory.mktemp("gigaspeech")
  rows = [
    {
      "segment_id": name,
      "speaker": "N/A",
      "text": text,
      "audio": {"bytes": sound_bytes(0, 1, "WAV"), "path": f"{name}.wav"},
      "begin_time": 1.0,
      "source": 1,
    }
    for name, text in TEXTS.items()
  ]
  for split, part in SPLITS.items():
    recipe_files.write(root / f"parquet/xs/{split}-00000-of-00001.parquet", rows, SCHEMA)
    write_chunk(root / "archives/data", part, 0, list(TEXTS.items()))
  release = root / "release/audio/podcast"
  release.mkdir(parents=True)
  sound = np.random.default_rng(0).normal(0, 0.1, 12 * 48_000)
  soundfile.write(release / "POD1.opus", sound, 48_000, format="OGG", subtype="OPUS")
  segments = [
    segment(name, "XS", "S", "DEV", "TEST", text=text, begin=2.0 * index, end=2.0 * index + 1)
    for index, (name, text) in enumerate(TEXTS.items())
  ]
  content = json.dumps(document(recording("POD1", *segments, segment("Z", "S"))))
  (root / "release/GigaSpeech.json").write_text(content, encoding="utf-8")
  return root


@pytest.mark.parametrize("form", ["parquet", "archives", "release"])
def test_every_form(folders, tmp_path, form):
  args = ["prepare_gigaspeech.py", tmp_path / "out", "--source", folders / form]
  args += ["--only", "train", "--only", "validation"] if form == "release" else []
  args += ["--punctuation"] if form == "archives" else []
  printed = recipe_scripts.run(*args)
  rows = recipe_scripts.counts(printed)
  assert rows["xs train"][:4] == rows["xs validation"][:4] == (5, 2, 0, 3)
  for reason, count in (("utterance with the tag <SIL>", 2), ("utterance with the tag <MUSIC>", 1)):
    assert f"xs validation: {count} left out, {reason}" in printed
  assert "xs train: INCOMPLETE: 5 utterances, of 9,389 published" in printed
  for split in ("train", "validation"):
    records = recipe_scripts.read(tmp_path / "out/xs", split)
    expected = MARKED if form == "archives" else WORDS
    assert {record.sample_id: record.text for record in records} == expected
    assert {(record.speaker, record.language) for record in records} == {(None, "English")}
    assert {len(record.audio) for record in records} == {16_000}
  if form == "release":
    assert recipe_scripts.run(*args).count("complete already, nothing to do") == 2


def test_the_licence_is_asked_for_where_the_hub_refuses(tmp_path):
  with hub_server.serve() as hub:
    repo = hub_server.Repo(revisions={"main": {"README.md": b""}}, token="accepted")
    hub.repos["speechcolab/gigaspeech"] = repo
    error = recipe_scripts.run(
      *("prepare_gigaspeech.py", tmp_path / "out"),
      ok=False,
      HF_ENDPOINT=hub.url,
      HF_HOME=str(tmp_path / "cache"),
    )
  assert error.startswith("error: ") and error.count("\n") == 1
  assert "GigaSpeech needs an accepted licence" in error and "HF_TOKEN" in error
