"""The demo from end to end, small: what it reads, runs, writes, and refuses."""

import json
import pathlib

import pytest
import soundfile

from maxtext_ext.demo import run
from maxtext_ext.demo.own_data import split_lines
from maxtext_ext.train.loop import main as train
from tests import tiny

SMALL = (*tiny.SHAPE, "steps=4", "checkpoint_period=4", "max_new_tokens=8")


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
  result = run.main(str(out), clips=(60, 3, 9), overrides=SMALL)
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
  (out / run.MARKER).touch()
  left = out / "data" / "train-00000-of-00009.array_record"
  left.write_text("what an earlier demo left there is removed, not mixed in")
  run.main(str(out), str(data), overrides=SMALL)
  assert not left.exists()
  report = json.loads((out / "report.json").read_text("utf-8"))
  assert set(report["wer_by_language"]) <= {"English", "Hebrew"}
  printed = capfd.readouterr().err
  assert "quarantined 1" in printed
  assert "maxtext-ext train configs/experiments/demo.yml" in printed


def test_a_folder_of_others_is_left_alone(tmp_path):
  (tmp_path / "thesis.txt").write_text("draft")
  with pytest.raises(ValueError, match="not the demo's"):
    run.main(str(tmp_path))
  assert (tmp_path / "thesis.txt").read_text() == "draft"


def test_lines_are_split_once_each_whatever_they_hold(tmp_path):
  lines = [json.dumps({"audio": f"{i}.wav", "text": "x"}) for i in range(50)] + ["{broken", ""]
  source = tmp_path / "my.jsonl"
  source.write_text("\n".join(lines))
  counts = split_lines(str(source), tmp_path / "out")
  assert counts == {"test": 3, "validation": 3, "train": 45}
  texts = [(tmp_path / "out" / f"{split}.jsonl").read_text() for split in counts]
  found = sorted(line for text in texts for line in text.splitlines())
  expected = [json.dumps({"audio": str(tmp_path / f"{i}.wav"), "text": "x"}) for i in range(50)]
  assert found == sorted([*expected, "{broken"])


@pytest.mark.parametrize(("content", "expected"), [(None, "not found"), ("{}\n{}\n", "2 lines")])
def test_unusable_own_data_is_one_line(tmp_path, content, expected):
  path = tmp_path / "my.jsonl"
  if content is not None:
    path.write_text(content)
  with pytest.raises(ValueError, match=expected):
    run.main(str(tmp_path / "demo"), str(path))


def test_training_without_data_says_so(tmp_path):
  keys = [*tiny.make_run(tmp_path), f"data_dir={tmp_path / 'nothing'}"]
  with pytest.raises(ValueError, match="nothing"):
    train(tiny.DEMO, keys)
