"""Data folders of Kaldi, whole and broken."""

import pathlib

import numpy as np
import pytest

from tests.sources.manifests import ramp, write_sounds
from tests.sources.opening import opener, outcomes, read_entries


def write(folder: pathlib.Path, **files: str) -> pathlib.Path:
  folder.mkdir(exist_ok=True)
  for name, content in files.items():
    (folder / name.replace("wav_scp", "wav.scp")).write_text(content)
  return folder


@pytest.fixture
def sounds(tmp_path):
  return write_sounds(tmp_path)


def test_utterances_are_recordings(sounds):
  write(
    sounds,
    text="b שלום לכולם\na  two   words \n",
    wav_scp=f"a one.wav\nb {sounds}/long.flac\n",
    utt2spk="a s1\nb s2\n",
    utt2lang="b heb\na en\n",
  )
  first, second = read_entries("kaldi", sounds, dataset_name="mine")
  assert outcomes([first, second]) == [("b", "שלום לכולם"), ("a", "two   words")]
  assert (first.record.language, first.record.speaker) == ("Hebrew", "s2")
  assert (second.record.language, second.record.dataset_name) == ("English", "mine")
  np.testing.assert_array_equal(second.record.audio, ramp(0, 1))


def test_segments_and_channels(sounds):
  write(
    sounds,
    text="u1 one\nu2 rest\nu3 right\nu4 lost\nu5 backwards\nu6 words\nu7 no recording\n",
    wav_scp="r long.flac\ns\tstereo.wav\n",
    segments="u2 r 3.5 -1\nu1 r 0.5 1.25\nu3 s 0 1 1\nu5 r 2 1\nu6 r one two\nu7 q 0 1\n",
  )
  u1, u2, u3, *bad = read_entries("kaldi", sounds)
  np.testing.assert_allclose(u1.record.audio, ramp(0.5, 1.25), atol=1e-4)
  np.testing.assert_allclose(u2.record.audio, ramp(3.5, 4), atol=1e-4)
  np.testing.assert_array_equal(u3.record.audio, ramp(0, 1) / 2)
  reasons = ["no line in 'segments'", "an end behind", "expected a recording, start", "'q' in wav"]
  for (name, reason), wanted in zip(outcomes(bad), reasons, strict=True):
    assert wanted in reason and name


def test_commands_are_never_run(sounds):
  flag = sounds / "was-run"
  write(
    sounds,
    text="a x\nb x\nc x\nd x\n",
    wav_scp=f"a touch {flag} |\nb touch {flag}; cat one.wav |  \nc -\nd foo.ark:123\n",
  )
  entries = outcomes(read_entries("kaldi", sounds))
  assert [name for name, _ in entries] == ["a", "b", "c", "d"]
  for _, reason in entries[:3]:
    assert "never run" in reason and "write its sound to a file" in reason
  assert "a place in an archive" in entries[3][1]
  assert not flag.exists()


def test_broken_lines_and_paths(sounds):
  write(sounds, wav_scp="a one.wav\nb ../../etc/passwd\nc ftp://h/x.wav\nd\n")
  (sounds / "text").write_bytes(b"a\nb x\nc x\nd x\n\xff\xfe y\n\n")
  expected = ["text is missing", "not found", "ftp://", "no line for 'd'", "not UTF-8"]
  for (_, reason), wanted in zip(outcomes(read_entries("kaldi", sounds)), expected, strict=True):
    assert wanted in reason


def test_folders_of_splits(sounds):
  for name in ("train", "dev"):
    write(sounds / name, text=f"{name} x\n", wav_scp=f"{name} ../one.wav\n")
  assert outcomes(read_entries("kaldi", sounds, "train")) == [("train", "x")]
  assert outcomes(read_entries("kaldi", sounds, "validation")) == [("dev", "x")]
  with pytest.raises(
    ValueError, match=r"no folder is named after the split 'test', only \['dev', "
  ):
    read_entries("kaldi", sounds, "test")


def test_paths_from_the_working_folder(sounds, monkeypatch):
  monkeypatch.chdir(sounds)
  write(sounds / "data", text="a x\n", wav_scp="a one.wav\n")
  assert outcomes(read_entries("kaldi", "data")) == [("a", "x")]


def test_folders_that_are_none(sounds):
  with pytest.raises(ValueError, match=r"no wav.scp in it"):
    opener("kaldi")(str(sounds))
  write(sounds, wav_scp="a one.wav\n")
  with pytest.raises(ValueError, match=r"no file 'text', expected it beside wav.scp"):
    opener("kaldi")(str(sounds))


def test_shards(sounds):
  write(
    sounds,
    text="".join(f"u{i} text {i}\n" for i in range(10)),
    wav_scp="".join(f"u{i} one.wav\n" for i in reversed(range(10))),
  )
  entries = read_entries("kaldi", sounds, shards=3)
  assert outcomes(entries) == [(f"u{i}", f"text {i}") for i in range(10)]
