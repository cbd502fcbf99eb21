import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.speech_like import make_clips

ROOT = Path(__file__).parents[2]
KEYS = {"name", "ours", "peer", "ratio", "unit", "peer_as_published"}


@pytest.mark.slow
@pytest.mark.integration_test
def test_prints_a_json_line_for_each_kind_of_records():
  small = ("--clips", "6", "--rows", "1", "--seconds", "0.05")
  run = subprocess.run(
    [sys.executable, "benchmarks/input.py", *small],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
    timeout=1800,
  )
  lines = [json.loads(line) for line in run.stdout.splitlines()[-3:]]
  assert [line["name"] for line in lines] == [
    "input_pcm16_to_int16",
    "input_float32_to_int16",
    "input_float32_to_float32",
  ]
  for line in lines:
    assert line.keys() == KEYS
    assert line["unit"] == "audio seconds a second"
    assert line["ratio"] == pytest.approx(line["ours"] / line["peer"], rel=0.02)
    assert min(line["ours"], line["peer"], line["peer_as_published"]) > 0


def test_the_sound_compresses_like_speech():
  clips = make_clips(40)
  samples = np.concatenate([clip.samples for clip in clips])
  file = io.BytesIO()
  soundfile.write(file, samples, 16_000, "PCM_16", format="FLAC")
  assert 0.4 < len(file.getvalue()) / samples.nbytes < 0.65  # LibriSpeech: 0.52
  assert (np.abs(samples.astype(int)) == 32_767).mean() < 1e-3


def test_clips_are_the_same_each_time_and_differ():
  one, again = make_clips(5), make_clips(5)
  assert [clip.text for clip in one] == [clip.text for clip in again]
  assert len({clip.samples.tobytes() for clip in one + again}) == 5
  assert all(0.5 <= clip.seconds <= 30 and clip.text for clip in one)
