"""Manifests of Lhotse, in the form that its to_dict writes."""

import numpy as np
import pytest

from tests.sources.manifests import ramp, write_lines, write_sounds
from tests.sources.opening import opener, outcomes, read_entries


def recording(name: str, path: str, seconds: float, channels: tuple[int, ...] = (0,), **more):
  return {
    "id": name,
    "sources": [{"type": "file", "channels": list(channels), "source": path}],
    "sampling_rate": 16000,
    "num_samples": int(seconds * 16000),
    "duration": seconds,
    "channel_ids": list(channels),
  } | more


def supervision(name: str, recording_id: str, start: float, duration: float, text: str, **more):
  return {
    "id": name,
    "recording_id": recording_id,
    "start": start,
    "duration": duration,
    "channel": 0,
    "text": text,
    "language": "English",
    "speaker": "19",
  } | more


def cut(name: str, start: float, duration: float, sound: dict, *supervisions: dict, **more):
  return {
    "id": name,
    "start": start,
    "duration": duration,
    "channel": 0,
    "supervisions": list(supervisions),
    "recording": sound,
    "type": "MonoCut",
  } | more


@pytest.fixture
def sounds(tmp_path):
  return write_sounds(tmp_path)


def test_cuts(sounds):
  long = recording("r", "long.flac", 4.0)
  later = supervision("s2", "r", 0.5, 0.5, "world", alignment={"word": [["world", 0.5, 0.5]]})
  write_lines(
    sounds / "cuts_train.jsonl.gz",
    cut("part", 0.5, 1.25, long, later, supervision("s1", "r", 0.0, 0.5, " hello ")),
    cut("whole", 0.0, 1.0, recording("o", "one.wav", 1.0), supervision("s", "o", 0, 1.0, "all")),
    cut(
      "right",
      0.0,
      1.0,
      recording("st", str(sounds / "stereo.wav"), 1.0, (0, 1)),
      supervision("s", "st", 0, 1.0, "ימין", language="he", speaker=None),
      channel=1,
    ),
  )
  part, whole, right = entries = read_entries("lhotse", sounds, "train")
  assert outcomes(entries) == [("part", "hello world"), ("whole", "all"), ("right", "ימין")]
  np.testing.assert_allclose(part.record.audio, ramp(0.5, 1.75), atol=1e-4)
  np.testing.assert_array_equal(whole.record.audio, ramp(0, 1))
  np.testing.assert_array_equal(right.record.audio, ramp(0, 1) / 2)
  assert (part.record.language, part.record.speaker) == ("English", "19")
  assert (right.record.language, right.record.speaker) == ("Hebrew", None)


def test_recordings_and_supervisions(sounds):
  write_lines(
    sounds / "x_supervisions_dev-clean.jsonl.gz",
    supervision("s2", "r", 3.0, 1.0, "late"),
    supervision("s3", "nowhere", 0.0, 1.0, "lost"),
    supervision("s1", "o", 0.0, 1.0, "all"),
  )
  write_lines(
    sounds / "x_recordings_dev-clean.jsonl.gz",
    recording("o", "one.wav", 1.0),
    recording("r", "long.flac", 4.0),
  )
  late, lost, whole = read_entries("lhotse", sounds, "validation")
  np.testing.assert_allclose(late.record.audio, ramp(3, 4), atol=1e-4)
  assert outcomes([late, whole]) == [("s2", "late"), ("s1", "all")]
  assert "'nowhere' is not among the recordings" in lost.reason and lost.sample_id == "s3"


def test_a_folder_of_several_splits(sounds):
  one = recording("o", "one.wav", 1.0)
  for split in ("train", "test"):
    said = supervision("s", "o", 0, 1.0, split)
    write_lines(sounds / f"cuts_{split}.jsonl.gz", cut(split, 0, 1.0, one, said))
  assert outcomes(read_entries("lhotse", sounds, "test")) == [("test", "test")]


def test_what_cannot_be_used(sounds):
  flag = sounds / "was-run"
  one, said = recording("o", "one.wav", 1.0), supervision("s", "o", 0, 1.0, "x")

  def with_source(**source: object) -> dict:
    return one | {"sources": [{"type": "file", "channels": [0], "source": "one.wav"} | source]}

  write_lines(
    sounds / "cuts.jsonl.gz",
    cut("command", 0, 1.0, with_source(type="command", source=f"touch {flag}"), said),
    cut("memory", 0, 1.0, with_source(type="memory", source="x"), said),
    cut("shar", 0, 1.0, with_source(type="shar", source=""), said),
    {"id": "mixed", "tracks": [{"cut": cut("a", 0, 1, one, said)}], "type": "MixedCut"},
    {"id": "padding", "type": "PaddingCut", "duration": 1.0},
    cut("features", 0, 1.0, None, said),
    cut("fast", 0, 1.0, one | {"transforms": [{"name": "Speed", "kwargs": {"factor": 1.1}}]}, said),
    cut("channel", 0, 1.0, one, said, channel=5),
    cut("odd channel", 0, 1.0, one, said, channel={}),
    cut("no text", 0, 1.0, one),
    cut("odd text", 0, 1.0, one, said | {"text": 5}),
    cut("odd supervisions", 0, 1.0, one, "x"),
    cut("odd start", "0:05", 1.0, one, said),
    cut("far", 1e308, 1.0, one, said),
    cut("behind", 2.0, 1.0, one, said),
    cut("path", 0, 1.0, with_source(source="../../../../../../../etc/passwd"), said),
    cut("ftp", 0, 1.0, with_source(type="url", source="ftp://h/x.wav"), said),
    [1],
    cut("good", 0, 1.0, one | {"transforms": [{"name": "Resample", "kwargs": {}}]}, said),
  )
  expected = {
    "command": "never run",
    "memory": "save its audio to a file",
    "shar": "--from shar",
    "mixed": "'MixedCut'",
    "padding": "'PaddingCut'",
    "features": "no recording",
    "fast": "is changed when it is read",
    "channel": r"no channel [5]",
    "odd channel": "channel is {}",
    "no text": "text is missing",
    "odd text": "'text' is [5]",
    "odd supervisions": "expected a list of objects",
    "odd start": "'start' is '0:05'",
    "far": "segment starts at 1e+308",
    "behind": "segment",
    "path": "etc/passwd",
    "ftp": "ftp://",
    "": "JSON is a list",
    "good": "x",
  }
  entries = outcomes(read_entries("lhotse", sounds))
  assert [name for name, _ in entries] == list(expected)
  for name, reason in entries:
    assert expected[name] in reason, name
  assert not flag.exists()


def test_a_truncated_file_gives_what_is_there(sounds):
  one, said = recording("o", "one.wav", 1.0), supervision("s", "o", 0, 1.0, "x")
  path = write_lines(
    sounds / "cuts.jsonl.gz", *(cut(f"c{i}", 0, 1.0, one, said) for i in range(500))
  )
  path.write_bytes(path.read_bytes()[:-40])
  *good, last = read_entries("lhotse", path)
  assert 100 < len(good) < 500
  assert "file is cut or damaged" in last.reason and "copy the file again" in last.reason


def test_nothing_to_read(sounds):
  with pytest.raises(ValueError, match=r"no manifests of Lhotse, expected \*cuts\*.jsonl.gz"):
    opener("lhotse")(str(sounds))
  write_lines(sounds / "supervisions.jsonl.gz", supervision("s", "o", 0, 1.0, "x"))
  with pytest.raises(ValueError, match=r"no recordings.jsonl.gz beside it"):
    opener("lhotse")(str(sounds))
