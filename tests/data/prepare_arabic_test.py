import pyarrow as pa
import pytest
import recipe_files
import recipe_scripts

pytestmark = pytest.mark.integration_test

# Of each source, files by name: rows, and what else they hold beside the audio.
SOURCES = {
  "sada22": ("data/{split}-00000-of-00001", {"train": 20, "validation": 3, "test": 4}),
  "mgb2": ("data/{split}-00000-of-00001", {"train": 31, "validation": 4, "test": 5}),
  "code-switching": ("data/{split}-00000-of-00001", {"train": 40}),
  "common-voice": ("ar/{split}/0000", {"train": 5, "validation": 2, "test": 2, "invalidated": 2}),
  "fleurs": ("ar_eg/{split}/0000", {"train": 3, "validation": 2, "test": 2}),
  "arabic-speech-corpus": ("clean/{split}/0000", {"train": 2, "test": 2}),
  "casablanca": ("{country}/{split}-00000-of-00001", {"validation": 2, "test": 1}),
}
COUNTRIES = ("Egypt", "UAE")
SHARDS = {
  "sada22": {"train": 19, "validation": 3, "test": 3},
  "mgb2": {"train": 29, "validation": 4, "test": 4},
  "code-switching": {"train": 1, "validation": 1, "test": 1},
  "common-voice": {"train": 3, "validation": 2, "test": 2},
  "fleurs": {"train": 1, "validation": 1, "test": 1},
  "arabic-speech-corpus": {"train": 1, "test": 1},
  "casablanca": {"train": 1, "validation": 1},
}


def columns(name, key, number):
  """Values of a row beside its audio; columns named as the source names them."""
  text = f"جملة رقم {key} {number}"
  match name:
    case "sada22":
      return {"text": f"{text}!!", "cleaned_text": text, "speaker_dialect": "Najdi"}
    case "mgb2":
      return {"transcript": text, "segment_id": f"{key}-{number}", "recording_id": key}
    case "code-switching":
      return {"sentence": f"{text} okay"}
    case "common-voice":
      return {
        "client_id": f"speaker-{number}",
        "path": f"cv_{key}_{number}.mp3",
        "sentence": text,
        "locale": "ar",
      }
    case "fleurs":  # two speakers read each sentence
      return {
        "id": number // 2,
        "transcription": text,
        "raw_transcription": f"{text}.",
        "gender": 1,
      }
    case "arabic-speech-corpus":
      return {"file": "x.wav", "text": "waraj~aHa", "orthographic": f"waraj~aHa {number}"}
    case "casablanca":
      return {"transcription": text}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  root = tmp_path_factory.mktemp("arabic")
  for name, (layout, splits) in SOURCES.items():
    for country in COUNTRIES if name == "casablanca" else ("",):
      for split, count in splits.items():
        key = f"{country}{split}"
        rows = [
          {
            "audio": {
              "bytes": recipe_files.sound(0.6, number),
              "path": None if name == "code-switching" else f"{key}-{number}.wav",
            },
            **columns(name, key, number),
          }
          for number in range(count)
        ]
        schema = pa.schema([pa.field("audio", recipe_files.AUDIO)])
        for column, value in columns(name, key, 0).items():
          schema = schema.append(pa.field(column, pa.scalar(value).type))
        path = layout.format(split=split, country=country)
        recipe_files.write(root / name / f"{path}.parquet", rows, schema)
  return root


def sources(folders, *names):
  return [arg for name in names or SOURCES for arg in ("--source", f"{name}={folders / name}")]


def test_all_seven(folders, tmp_path):
  out = tmp_path / "out"
  printed = recipe_scripts.run("prepare_arabic.py", out, *sources(folders))

  assert {name: recipe_scripts.shard_counts(out / name) for name in SOURCES} == SHARDS
  rows = recipe_scripts.counts(printed)
  for name, (_, splits) in SOURCES.items():
    for split, count in splits.items():
      if split == "invalidated":
        continue
      read, written, quarantined, left_out, *by_split = rows[f"{name} {split}"]
      assert read == count * (len(COUNTRIES) if name == "casablanca" else 1)
      assert (written, quarantined, left_out) == (read, 0, 0)
      assert sum(by_split) == written

  records = {
    (name, split): recipe_scripts.read(out / name, split)
    for name, splits in SHARDS.items()
    for split in splits
  }
  assert {len(records["code-switching", split]) for split in SHARDS["code-switching"]} != {0}
  for (name, _), found in records.items():
    language = "Arabic/English" if name == "code-switching" else "Arabic"
    assert {record.language for record in found} == {language}

  def texts(name, split="train"):
    return {record.text for record in records[name, split]}

  def ids(name, split="train"):
    return {record.sample_id for record in records[name, split]}

  assert "جملة رقم train 0!" in texts("sada22")
  assert texts("arabic-speech-corpus") == {"ورجح 0", "ورجح 1"}
  assert ids("arabic-speech-corpus", "test") == {"test-0.wav", "test-1.wav"}
  assert "train-30" in ids("mgb2")
  assert ids("fleurs") == {"train-0.wav", "train-1.wav", "train-2.wav"}
  assert "cv_train_0.mp3" in ids("common-voice")
  assert {record.speaker for record in records["common-voice", "train"]} > {"speaker-0"}
  assert ids("casablanca") == {f"{c}validation-{n}.wav" for c in COUNTRIES for n in range(2)}
  assert ids("casablanca", "validation") == {f"{country}test-0.wav" for country in COUNTRIES}
  names = {found[0].dataset_name for found in records.values() if found}
  assert {"MohamedRashad/mgb2_arabic", "fixie_ai/common_voice_17_0", "UBC_NLP/Casablanca"} < names


def test_columns_can_be_named(folders, tmp_path):
  printed = recipe_scripts.run(
    *("prepare_arabic.py", tmp_path / "out", *sources(folders, "sada22"), "--only", "sada22"),
    *("--text-column", "sada22=cleaned_text", "--id-column", "sada22=cleaned_text"),
  )
  assert f"data_dir: {tmp_path}/out/sada22\n" in printed
  records = recipe_scripts.read(tmp_path / "out/sada22", "test")
  assert {record.text for record in records} == {f"جملة رقم test {number}" for number in range(4)}
  assert {record.sample_id for record in records} == {record.text for record in records}


@pytest.mark.parametrize(
  ("args", "said"),
  [
    (["--source", "fleurs"], "'fleurs' is not NAME=VALUE"),
    (["--text-column", "fleur=text"], "'fleur=text' is not NAME=VALUE"),
    (["--only", "fleurs", "--text-column", "fleurs=words"], "no column for the text (words)"),
  ],
)
def test_what_is_wrong_is_said(folders, tmp_path, args, said):
  args = [tmp_path / "out", *sources(folders, "fleurs"), *args]
  assert said in recipe_scripts.run("prepare_arabic.py", *args, ok=False)
