"""The demo from end to end, small: what it reads, runs, writes, and refuses."""

import dataclasses
import json
import pathlib

import pytest
import soundfile

from maxtext_ext.demo import demo, families
from maxtext_ext.train.loop import main as train
from tests import tiny

SMALL = (*tiny.SHAPE, "steps=4", "checkpoint_period=4", "max_new_tokens=8")
SMALL_LMU = (
  "encoder={layers: 1, width: 16, heads: 2, memory: 4, theta: 10, num_mel_bins: 20, channels: 4}",
  *("steps=4", "checkpoint_period=4", "eval_interval=4", "length_buckets=1"),
)


def write_recordings(folder: pathlib.Path, count: int) -> pathlib.Path:
  """WAV files at another rate, and the lines that name them."""
  folder.mkdir()
  lines = []
  for clip in tiny.records(count, seed=5, seconds=(0.5, 2.0)):
    soundfile.write(folder / f"{clip.sample_id}.wav", clip.audio, 22_050)
    lines.append({"audio": f"{clip.sample_id}.wav", "text": clip.text, "language": clip.language})
  lines[0]["audio"] = "gone.wav"
  path = folder / "my.jsonl"
  path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
  return path


@pytest.mark.integration_test
@pytest.mark.slow
def test_demo_on_synthetic_speech(tmp_path):
  out = tmp_path / "demo"
  result = demo.main(str(out), clips=(60, 3, 9), overrides=SMALL)
  report = json.loads((out / "report.json").read_text("utf-8"))
  assert report["wer"] == result.wer
  assert report["untrained_wer"] == result.untrained_wer
  assert set(report["wer_by_language"]) == {"English", "Arabic", "Hebrew"}
  assert 0 < report["seconds"] < 600
  page = (out / "report.html").read_text("utf-8")
  assert "<svg" in page, "a loss curve"
  assert not [line for line in page.splitlines() if 'src="http' in line or 'href="http' in line]


@pytest.mark.integration_test
@pytest.mark.slow
def test_demo_on_own_recordings(tmp_path, capfd):
  data = write_recordings(tmp_path / "mine", 24)
  out = tmp_path / "demo"
  (out / "data").mkdir(parents=True)
  (out / demo.MARKER).touch()
  left = out / "data" / "train-00000-of-00009.array_record"
  left.write_text("what an earlier demo left there is removed, not mixed in")
  demo.main(str(out), str(data), overrides=SMALL)
  assert not left.exists()
  report = json.loads((out / "report.json").read_text("utf-8"))
  assert set(report["wer_by_language"]) <= {"English", "Hebrew"}
  printed = capfd.readouterr().err
  assert "quarantined 1" in printed
  assert "maxtext-ext train configs/experiments/demo.yml" in printed


@pytest.mark.integration_test
@pytest.mark.slow
def test_demo_of_the_lmu(tmp_path, capfd):
  data = write_recordings(tmp_path / "mine", 24)
  result = demo.main(str(tmp_path / "demo"), str(data), model="lmu", overrides=SMALL_LMU)
  assert "LMU" in (tmp_path / "demo" / "report.html").read_text("utf-8")
  assert 0 < result.wer <= 10
  printed = capfd.readouterr().err
  assert "maxtext-ext train configs/experiments/lmu_demo.yml" in printed


def test_a_folder_of_others_is_left_alone(tmp_path):
  (tmp_path / "thesis.txt").write_text("draft")
  with pytest.raises(ValueError, match="not the demo's"):
    demo.main(str(tmp_path))
  assert (tmp_path / "thesis.txt").read_text() == "draft"


def test_recordings_in_the_folder_that_is_emptied_are_left_alone(tmp_path):
  (tmp_path / demo.MARKER).touch()
  (tmp_path / "my.jsonl").write_text("{}")
  with pytest.raises(ValueError, match=r"my\.jsonl is in .*, which is emptied first"):
    demo.main(str(tmp_path), str(tmp_path / "my.jsonl"))
  assert (tmp_path / "my.jsonl").exists()


def test_recordings_none_of_which_can_be_used_are_one_line(tmp_path):
  for name in "abc":
    (tmp_path / f"{name}.wav").write_bytes(b"no sound")
  path = tmp_path / "my.jsonl"
  path.write_text("".join(json.dumps({"audio": f"{c}.wav", "text": "x"}) + "\n" for c in "abc"))
  with pytest.raises(ValueError, match=r"train.jsonl: none of 1 can be used: .*\.wav") as raised:
    demo.main(str(tmp_path / "demo"), str(path))
  assert "\n" not in str(raised.value)


def test_an_unknown_model_is_named_with_those_there_are(tmp_path):
  with pytest.raises(ValueError, match="model 'lstm', expected one of qwen3_asr"):
    demo.main(str(tmp_path / "demo"), model="lstm")


def test_steps_follow_from_the_amount_of_data_within_bounds():
  steps = [families.steps_for(tokens / 1024) for tokens in (500, 90_000, 200_000, 10**9)]
  assert steps == [600, 704, 1563, 3600]


def test_no_transcript_as_long_as_those_of_the_data_is_cut(tmp_path):
  for split in families.SPLITS:
    clips = tiny.records(3, seed=1, seconds=(0.5, 0.6))
    if split == "test":
      clips[0] = dataclasses.replace(clips[0], text="one " * 30)
    tiny.write_split(tmp_path / "data", split, clips, shards=1)
  family = families.FAMILIES["qwen3_asr"]
  vocabulary = demo.write_vocabulary(family, tmp_path)
  made = family.own_data_keys(str(tmp_path / "data"), vocabulary)
  keys = dict(key.split("=", 1) for key in made)
  assert int(keys["max_new_tokens"]) == (4 * 30 + 1) * 5 // 4
  assert int(keys["steps"]) == 600 and int(keys["early_stopping_patience"]) > 0
  assert int(keys["eval_interval"]) * 15 == 600


def test_training_without_data_says_so(tmp_path):
  keys = [*tiny.make_run(tmp_path), f"data_dir={tmp_path / 'nothing'}"]
  with pytest.raises(ValueError, match="nothing"):
    train(tiny.DEMO, keys)


def test_own_recordings_of_a_ctc_model_have_letters_of_their_own(tmp_path):
  for split in families.SPLITS:
    tiny.write_split(tmp_path / "data", split, tiny.records(3, seconds=(0.5, 0.6)), shards=1)
  family = families.FAMILIES["lmu"]
  alphabet = demo.write_vocabulary(family, tmp_path)
  keys = dict(key.split("=", 1) for key in family.own_data_keys(str(tmp_path / "data"), alphabet))
  texts = [each.text for each in families.records_of(str(tmp_path / "data"), "train")]
  assert all(alphabet.decode(alphabet.encode(text)) == text for text in texts)
  assert int(keys["vocab_size"]) == len(set(" ".join(texts))) + 1
  assert int(keys["max_target_length"]) >= max(map(len, texts))
