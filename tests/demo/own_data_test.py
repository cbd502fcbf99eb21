"""Splits cut from a user's own lines."""

import json
import pathlib

import pytest

from maxtext_ext.demo import own_data
from maxtext_ext.demo.own_data import split_lines


def write(folder: pathlib.Path, lines: list[dict | str]) -> str:
  """The file of the lines, with a (silent) sound file for each that names one inside."""
  for line in lines:
    if isinstance(line, dict) and not line.get("gone"):
      path = folder / next(value for key, value in line.items() if key.startswith("audio"))
      path.parent.mkdir(parents=True, exist_ok=True)
      path.touch()
  path = folder / "my.jsonl"
  path.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines))
  return str(path)


def cut(
  folder: pathlib.Path, lines: list[dict | str]
) -> tuple[own_data.OwnSplits, dict[str, list]]:
  """Returns split_lines' result and the lines of each split; those that are no JSON as text."""
  result = split_lines(write(folder, lines), folder / "out")
  parts = {}
  for split in ("train", "validation", "test"):
    content = (folder / "out" / f"{split}.jsonl").read_text().splitlines()
    parts[split] = [json.loads(line) if line.startswith('{"') else line for line in content]
    assert len(parts[split]) == result.counts[split]
  return result, parts


def clip(number: int, **more: object) -> dict:
  return {"audio": f"{number}.wav", "text": "x", **more}


def test_lines_are_split_once_each_whatever_they_hold(tmp_path):
  result, parts = cut(tmp_path, [*map(clip, range(50)), "{broken", "", "[1]"])
  assert result.counts == {"test": 2, "validation": 2, "train": 48}
  assert (result.by, result.left_out) == ("recording", 0)
  found = [line for part in parts.values() for line in part if isinstance(line, dict)]
  assert sorted(line["audio"] for line in found) == sorted(
    str(tmp_path / f"{i}.wav") for i in range(50)
  )
  assert sorted(line["id"] for line in found) == sorted(f"{i}.wav" for i in range(50)), "relative"
  assert {"{broken", "[1]"} <= {line for line in parts["train"] if isinstance(line, str)}


def test_the_order_of_the_file_does_not_matter(tmp_path):
  lines = [clip(i, speaker=i % 7) for i in range(40)]
  _, first = cut(tmp_path / "a", lines)
  _, second = cut(tmp_path / "b", lines[::-1])
  for split, part in first.items():
    assert {line["id"] for line in part} == {line["id"] for line in second[split]}


@pytest.mark.parametrize("key", ["speaker", "speaker_id", "client_id"])
def test_no_speaker_is_in_two_splits(tmp_path, key):
  lines = [clip(i, **{key: f"s{i % 9}"}) for i in range(60)]
  result, parts = cut(tmp_path, [*lines, clip(60), clip(61)])
  speakers = {split: {line.get(key) for line in part} for split, part in parts.items()}
  assert result.by == "speaker" and str(result) == "no speaker is in two splits"
  assert not speakers["test"] & speakers["validation"]
  assert not speakers["train"] & (speakers["test"] | speakers["validation"])
  assert all(speakers.values()) and None not in speakers["test"] | speakers["validation"]
  assert result.counts["train"] > 40


def test_ten_clips_of_three_speakers_are_enough(tmp_path):
  result, parts = cut(tmp_path, [clip(i, speaker="abc"[i % 3]) for i in range(10)])
  assert result.by == "speaker"
  assert sorted(result.counts.values()) == [3, 3, 4] and result.counts["train"] == 4
  assert [len({line["speaker"] for line in part}) for part in parts.values()] == [1, 1, 1]


def test_with_fewer_speakers_parts_of_a_recording_stay_together(tmp_path):
  lines = [
    {"audio_filepath": f"{i % 5}.wav", "offset": float(i), "text": "x", "speaker": "ab"[i % 2]}
    for i in range(30)
  ]
  result, parts = cut(tmp_path, lines)
  files = [{line["audio_filepath"] for line in part} for part in parts.values()]
  assert result.by == "recording" and sum(map(len, files)) == 5
  ids = [line["id"] for part in parts.values() for line in part]
  assert len(set(ids)) == 30 and all(str(tmp_path) not in name for name in ids)


def test_with_fewer_recordings_lines_are_split(tmp_path):
  result, _ = cut(tmp_path, [{"audio": "a.wav", "offset": i, "text": "x"} for i in range(9)])
  assert (result.by, result.counts) == ("line", {"test": 1, "validation": 1, "train": 7})


def test_large_speakers_do_not_make_large_tests(tmp_path, monkeypatch):
  monkeypatch.setattr(own_data, "MOST", {"test": 5, "validation": 4})
  result, _ = cut(tmp_path, [clip(i, speaker=i % 3) for i in range(60)])
  assert result.counts == {"test": 5, "validation": 4, "train": 20}
  assert str(result) == "no speaker is in two splits; 31 lines too many are left out"


def test_lines_that_cannot_be_used_are_not_held_out(tmp_path):
  bad = [clip(100 + i, gone=True) for i in range(20)] + [{"audio": "x", "gone": 1}] * 20
  result, parts = cut(tmp_path, [*bad, *map(clip, range(3))])
  assert result.counts == {"test": 1, "validation": 1, "train": 41}
  assert all((tmp_path / line["audio"]).exists() for line in parts["test"] + parts["validation"])


def test_ids_and_addresses_stay(tmp_path):
  lines = [clip(i, id=f"own{i}") for i in range(9)] + [
    {"audio": "gs://bucket/a.wav", "text": "x", "gone": True},
    {"audio": "/elsewhere/b.wav", "text": "x", "gone": True},
  ]
  _, parts = cut(tmp_path, lines)
  ids = {line["id"]: line["audio"] for part in parts.values() for line in part}
  assert {f"own{i}" for i in range(9)} < ids.keys()
  assert ids["b.wav"] == "/elsewhere/b.wav" and "gs://bucket/a.wav" in ids.values()


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("", "has 0 usable lines of 0, and three splits need one each; expected JSON lines like"),
    ("{}\n{}\n", "0 usable lines of 2.*; line 1: no audio path, or no text"),
    ('"text"\n', "0 usable lines of 1.*; line 1: JSON is a str"),
    ("id\ttext\n1\tx\n", "0 usable lines of 2.*; line 1: not JSON"),
    ("\n" + json.dumps(clip(1)), "line 2: 1.wav: no such audio file"),
  ],
)
def test_a_file_without_three_usable_lines_is_one_line(tmp_path, content, message):
  path = tmp_path / "my.jsonl"
  path.write_text(content)
  with pytest.raises(ValueError, match=message) as raised:
    split_lines(str(path), tmp_path / "out")
  assert "\n" not in str(raised.value)
  assert not (tmp_path / "out").exists()


def test_a_file_that_is_none_is_one_line(tmp_path):
  with pytest.raises(ValueError, match=r"nothing\.jsonl not found; expected JSON lines like"):
    split_lines(str(tmp_path / "nothing.jsonl"), tmp_path / "out")
  with pytest.raises(ValueError, match="is a folder; expected JSON lines like"):
    split_lines(str(tmp_path), tmp_path / "out")
