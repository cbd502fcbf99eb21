"""Files to transcripts, with a stand-in of the model."""

import json
import re

import numpy as np
import pytest
import soundfile

from maxtext_ext import transcribe_files as module
from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.cli import main
from maxtext_ext.decode import long_audio
from maxtext_ext.decode.interface import Answer, Written
from maxtext_ext.input.collate import info
from maxtext_ext.transcribe_files import output_paths
from tests.decode.long_audio_test import build


class Model:
  """Answers with the length and context of a piece; the last recording is finished first."""

  def transcribe_each(self, recordings, *, piece_seconds, vad):
    assert not vad

    def run(clips):
      for request in reversed(list(clips)):
        clip = request.utterance
        text = f"{clip.seconds:.1f} {clip.text}".strip()
        written = Written(tokens=[], finish_reason="stop")
        yield Answer(clip=info(clip), language="English", text=text, written=written)

    return long_audio.transcribe(recordings, run, build, piece_seconds=piece_seconds)


@pytest.fixture
def model(monkeypatch, tmp_path) -> str:
  def load(path: str, **keys: object) -> Model:
    Model.keys = keys
    return Model()

  monkeypatch.setattr(module.Transcriber, "from_pretrained", load)
  for name, seconds in {"a": 3.0, "b": 1.0, "long": 12.0}.items():
    samples = np.random.default_rng(0).normal(scale=0.1, size=round(seconds * SAMPLE_RATE))
    soundfile.write(tmp_path / f"{name}.wav", samples, SAMPLE_RATE)
  (tmp_path / "bad.wav").write_bytes(b"text")
  monkeypatch.chdir(tmp_path)
  return str(tmp_path)


def run(capsys, *args: str) -> tuple[int, str, str]:
  with pytest.raises(SystemExit) as exited:
    main(["transcribe", *args])
  captured = capsys.readouterr()
  return exited.value.code or 0, captured.out, captured.err


def test_text_is_printed_in_the_order_of_the_files(capsys, model):
  assert run(capsys, model, "a.wav")[:2] == (0, "3.0\n")
  assert run(capsys, model, "b.wav", "a.wav")[:2] == (0, "b.wav: 1.0\na.wav: 3.0\n")


def test_keys_reach_the_model(capsys, model, tmp_path):
  (tmp_path / "dtype=a.wav").write_bytes((tmp_path / "a.wav").read_bytes())
  words = ["max_new_tokens=7", "dtype=a.wav", "language_in_prompt=true", "b.wav"]
  assert run(capsys, model, *words)[:2] == (0, "dtype=a.wav: 3.0\nb.wav: 1.0\n")
  assert Model.keys == {"max_new_tokens": 7, "language_in_prompt": True}
  for words, said in (
    (["a.wav", "max_new_token=7"], "max_new_token"),
    (["max_new_tokens=7"], "only keys are given (max_new_tokens=7), expected sound files too"),
  ):
    status, _, err = run(capsys, model, *words)
    assert status == 2 and said in err


def test_a_language_that_is_not_known_is_said(capsys, model):
  status, _, err = run(capsys, model, "a.wav", "--language", "Hebrewish")
  assert status == 0
  assert "language 'Hebrewish' is no name or ISO 639 code that is known" in err
  assert "did you mean 'Hebrew'?" in err


def test_options_reach_the_pieces(capsys, model, tmp_path):
  args = ["--piece-seconds", "6", "--context", "names", "--language", "he", "--output", "l.json"]
  assert run(capsys, model, "long.wav", *args)[:2] == (0, "")
  written = json.loads((tmp_path / "l.json").read_text())
  assert written["audio"] == "long.wav"
  assert len(written["segments"]) == 3
  assert written["text"].count("names") == 3
  assert {segment["language"] for segment in written["segments"]} == {"he"}


@pytest.mark.parametrize("kind", ["txt", "json", "srt", "vtt"])
def test_several_files_go_to_a_folder(capsys, model, tmp_path, kind):
  status, out, err = run(capsys, model, "a.wav", "b.wav", "--output", "out", "--format", kind)
  assert (status, out) == (0, "")
  assert err.splitlines()[-1].endswith("out: 2 transcripts")
  assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"a.{kind}", f"b.{kind}"]
  assert "3.0" in (tmp_path / "out" / f"a.{kind}").read_text()


def test_subtitles_are_printed_of_one_file(capsys, model):
  status, out, _ = run(capsys, model, "a.wav", "--format", "srt")
  assert (status, out) == (0, "1\n00:00:00,000 --> 00:00:03,000\n3.0\n\n")


def test_a_bad_file_does_not_keep_others(capsys, model):
  status, out, err = run(capsys, model, "a.wav", "bad.wav", "b.wav")
  assert (status, out) == (2, "a.wav: 3.0\nb.wav: 1.0\n")
  assert "error: bad.wav: cannot decode 4 bytes" in err
  assert err.splitlines()[-1] == (
    "error: 1 of 3 recordings could not be transcribed: the lines above"
  )


def test_missing_text_is_said(capsys, model, tmp_path):
  spoken = np.random.default_rng(0).normal(scale=0.1, size=40 * SAMPLE_RATE)
  spoken[::2] = 0
  spoken.reshape(-1, SAMPLE_RATE)[::3] *= 1e-3  # a pause every third second
  soundfile.write(tmp_path / "speech.wav", spoken, SAMPLE_RATE)
  _, _, err = run(capsys, model, "speech.wav", "--piece-seconds", "40")
  assert "speech.wav: speech with too little text at 0.0-40.0 s" in err


@pytest.mark.parametrize(
  ("files", "output", "kind", "expected"),
  [
    (["x/a.wav"], None, None, ("txt", [None])),
    (["x/a.wav"], None, "vtt", ("vtt", [None])),
    (["x/a.wav"], "o.srt", None, ("srt", ["o.srt"])),
    (["x/a.wav"], "o.srt", "srt", ("srt", ["o.srt"])),
    (["x/a.wav"], "o", None, ("txt", ["o/a.txt"])),
    (["x/a.wav"], "o.d/", None, ("txt", ["o.d/a.txt"])),
    (["x/a.wav", "y/b.c.mp3"], "gs://o", "srt", ("srt", ["gs://o/a.srt", "gs://o/b.c.srt"])),
  ],
)
def test_where_transcripts_go(files, output, kind, expected):
  assert output_paths(files, output, kind) == expected


@pytest.mark.parametrize(
  ("files", "output", "kind", "said"),
  [
    (["a.wav", "b.wav"], None, "srt", "2 files of subtitles"),
    (["a.wav", "b.wav"], "o.srt", None, "but there are 2 recordings"),
    (["a.wav"], "o.srt", "vtt", "ends in .srt, but the format is vtt"),
    (["x/a.wav", "y/a.mp3"], "o", None, "2 recordings are named a"),
    (["a.wav"], "x.doc", None, r"x\.doc: unknown ending \.doc, expected one of \.txt, \.json"),
  ],
)
def test_contradictions(files, output, kind, said):
  with pytest.raises(ValueError, match=said):
    output_paths(files, output, kind)


@pytest.mark.parametrize(
  ("args", "said"),
  [
    (["."], ". is a folder, expected sound files; .* decode_input=."),
    (["a.wav", "none.wav"], "none.wav: no such file"),
    (["a.wav", "b.wav", "--output", "long.wav"], "expected a folder to write to, got a file"),
    (["sound.txt", "--output", "sound.txt"], "sound.txt would overwrite sound.txt, which is read"),
  ],
)
def test_files_that_cannot_be_are_refused_at_once(capsys, model, tmp_path, monkeypatch, args, said):
  monkeypatch.setattr(module.Transcriber, "from_pretrained", lambda path: pytest.fail("too late"))
  (tmp_path / "sound.txt").write_bytes((tmp_path / "a.wav").read_bytes())
  status, _, err = run(capsys, model, *args)
  assert status == 2
  assert re.search(said, err)
