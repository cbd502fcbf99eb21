"""Decoding of a split, of a JSONL file and of a folder of sound with a tiny model."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
import soundfile
from gcs_faults import Faults

from maxtext_ext.decode import decode
from maxtext_ext.decode.driver import Tally
from maxtext_ext.errors import AllFailedError
from maxtext_ext.evaluate import decoded
from maxtext_ext.evaluate.findings import find
from maxtext_ext.evaluate.hypotheses import read_hypotheses
from maxtext_ext.evaluate.hypothesis import ERROR
from maxtext_ext.evaluate.system import load_system
from maxtext_ext.evaluate.wer import Method
from maxtext_ext.files import connection
from tests import tiny

CLIPS = 6
TALK_SECONDS = 34  # of a recording that is cut


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
  """Keys of an untrained run, and a folder of sound files beside its data."""
  folder = tmp_path_factory.mktemp("decode")
  run = tiny.make_run(folder, train=8, test=CLIPS)
  clips = tiny.records(CLIPS, seed=2, words=tiny.WORDS)
  for number, clip in enumerate(clips):
    path = folder / "sound" / f"speaker {number % 2}" / f"{number}.WAV"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, clip.as_float32(), 16_000, subtype="PCM_16")
  return [
    *run,
    *("base_num_decoder_layers=1", "max_new_tokens=4", "decode_checkpoint=untrained"),
    *(
      "logits_via_embedding=false",
      "decode_rows=4",
      "clips_per_shard=2",
      f"jax_cache_dir={folder / 'programs'}",
    ),
  ]


def folder_of(keys: list[str]) -> pathlib.Path:
  return pathlib.Path(keys[0].removeprefix("data_dir=")).parent


def texts(output: str) -> dict[str, str]:
  return {line.id: line.hypothesis for line in read_hypotheses(output)}


@pytest.fixture(scope="module")
def split(keys: list[str]) -> decode.DecodeResult:
  """The test split, decoded."""
  return decode.main(tiny.DEMO, keys)


def test_a_split_is_decoded_once(keys, split, capsys):
  assert split.output == str(folder_of(keys) / "runs" / "demo" / "decoded" / "test")
  assert (split.clips, split.total, split.tally.failed) == (CLIPS, CLIPS, 0)
  found = texts(split.output)
  assert len(found) == CLIPS and len(set(found.values())) > 1, "the clips differ in what they say"
  assert decoded.read(split.output) == split.source
  assert split.source.versions.keys() >= {"maxtext_ext", "jax"}
  names = sorted(path.name for path in pathlib.Path(split.output).iterdir())
  shards = [f"hypotheses-{shard:05d}-of-00003.jsonl" for shard in range(3)]
  assert names == ["decoded.json", *shards, "manifest.json"]

  before = (pathlib.Path(split.output) / shards[1]).read_bytes()
  (pathlib.Path(split.output) / shards[1]).unlink()
  assert decode.main(tiny.DEMO, keys).clips == 2, "what a killed job has left"
  assert (pathlib.Path(split.output) / shards[1]).read_bytes() == before
  assert decode.main(tiny.DEMO, keys).clips == 0
  assert "nothing was left to decode" in capsys.readouterr().err


def test_evaluate_reads_why_transcripts_ended_and_the_confidences(split):
  lines = read_hypotheses(split.output)
  reasons = [line.extra["finish_reason"] for line in lines]
  assert "length" in reasons, "weights as drawn seldom end by themselves"
  found = find(load_system([pathlib.Path(split.output)], normalizer="none", method=Method()))
  assert found.quality.cut == reasons.count("length")
  assert found.quality.loops == reasons.count("loop")
  assert found.calibration is not None and found.calibration.left_out == 0
  words = [word for line in lines for word in line.extra["words"]]
  assert found.calibration.words == len(words) > 0
  assert all(0 < word["confidence"] <= 1 for word in words)


def test_other_settings_are_refused_until_they_replace(keys, split):
  shorter = tiny.last_wins([*keys, "max_new_tokens=2", f"output={folder_of(keys) / 'replaced'}"])
  shutil.copytree(split.output, folder_of(keys) / "replaced")
  with pytest.raises(ValueError, match=r"other settings \(max_new_tokens was 4, now 2\); give"):
    decode.main(tiny.DEMO, shorter)
  assert texts(str(folder_of(keys) / "replaced")) == texts(split.output)
  drawn = [*keys, "temperature=2.0", f"output={folder_of(keys) / 'replaced'}"]
  with pytest.raises(ValueError, match=r"settings \(temperature was its default, now 2\.0\); give"):
    decode.main(tiny.DEMO, drawn)
  both = [*keys, "temperature=2.0", "beams=2", f"output={folder_of(keys) / 'new'}"]
  with pytest.raises(ValueError, match=r"temperature=2\.0 cannot be combined with beams=2"):
    decode.main(tiny.DEMO, both)
  assert not (folder_of(keys) / "new").exists()
  replaced = decode.main(tiny.DEMO, [*shorter, "replace_output=true"])
  assert replaced.clips == CLIPS
  assert decoded.read(replaced.output).max_new_tokens == 2


def test_folders_and_manifests_in_a_bucket(keys, gcs, tmp_path, monkeypatch):
  """A corrupt file fails alone; the same sound has the same text in a folder and in a manifest."""
  local = folder_of(keys) / "sound"
  for path in local.rglob("*.WAV"):
    gcs.put(f"gs://bucket/sound/{path.relative_to(local)}", path.read_bytes())
  gcs.put("gs://bucket/sound/bad/broken.wav", b"RIFF, but no sound")
  talk = np.concatenate([clip.as_float32() for clip in tiny.records(CLIPS, seed=2)] * 20)
  soundfile.write(tmp_path / "talk.flac", talk[: TALK_SECONDS * 16_000], 16_000)
  gcs.put("gs://bucket/sound/talk.flac", (tmp_path / "talk.flac").read_bytes())
  gcs.put("gs://bucket/sound/bad/notes.txt", b"no sound either")
  monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.5)
  faults = Faults(gcs, seed=3, stall_seconds=1.0)
  folder = decode.main(
    tiny.DEMO, [*keys, "decode_input=gs://bucket/sound", "output=gs://bucket/text"]
  )
  assert (folder.clips, folder.tally.failed) == (CLIPS + 2, 1)
  lines = {line.id: line for line in read_hypotheses("gs://bucket/text")}
  broken = lines.pop("bad/broken.wav")
  assert broken.hypothesis == "" and "broken.wav" in broken.extra[ERROR]
  assert lines["talk.flac"].duration == TALK_SECONDS
  segments = lines["talk.flac"].extra["segments"]
  assert (segments[0]["start"], segments[-1]["end"]) == (0.0, TALK_SECONDS)
  assert lines["talk.flac"].hypothesis == " ".join(each["text"] for each in segments)
  assert len(segments) == 2
  assert len({line.hypothesis for line in lines.values()}) > 1, "the clips differ in what they say"
  assert decoded.read("gs://bucket/text").input == "gs://bucket/sound"

  manifest = [
    *({"audio": name, "text": f"said {name}", "speaker": "a"} for name in sorted(lines)),
    {"audio": "bad/broken.wav", "text": "never said", "id": "known", "language": "he"},
    {"audio": "speaker 0/none.wav"},
  ]
  content = "".join(f"{json.dumps(line)}\n" for line in manifest) + "no JSON\n"
  gcs.put("gs://bucket/sound/clips.jsonl", content.encode())
  listed = decode.main(
    tiny.DEMO,
    [*keys, "decode_input=gs://bucket/sound/clips.jsonl", f"output={tmp_path / 'text'}"],
  )
  assert (listed.clips, listed.tally.failed) == (CLIPS + 4, 3)
  found = {line.id: line for line in read_hypotheses(listed.output)}
  failed = {name: line for name, line in found.items() if ERROR in line.extra}
  assert sorted(failed) == ["clips.jsonl:10", "known", "speaker 0/none.wav"]
  assert (failed["known"].reference, failed["known"].language) == ("never said", "Hebrew")
  assert "not found" in failed["speaker 0/none.wav"].extra[ERROR]
  assert "not JSON" in failed["clips.jsonl:10"].extra[ERROR]
  assert {name: found[name].hypothesis for name in lines} == {
    name: line.hypothesis for name, line in lines.items()
  }
  assert found["speaker 0/0.WAV"].reference == "said speaker 0/0.WAV"
  assert len(faults.counts) > 4


def test_a_job_that_can_read_no_clip_fails(split):
  split.require_transcripts()
  failed = dataclasses.replace(split, tally=Tally(clips=2, failed=2, first_failure="a: not found"))
  with pytest.raises(AllFailedError, match=r"none of the 2 clips .* first a: not found; check the"):
    failed.require_transcripts()
  dataclasses.replace(split, tally=Tally()).require_transcripts()  # nothing was left


def test_a_list_of_clips_among_the_transcripts_is_refused(keys, split, tmp_path):
  path = pathlib.Path(split.output, "hypotheses-00000-of-00003.jsonl")
  before = path.read_bytes()
  with pytest.raises(ValueError, match="the folder of the transcripts; give another output="):
    decode.main(
      tiny.DEMO,
      [*keys, f"decode_input={path}", f"output={split.output}", "replace_output=true"],
    )
  assert path.read_bytes() == before
