"""A trained run and a converted folder load by their path alone; clips do not mind their mates."""

import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from maxtext_ext import Transcriber, Transcription
from maxtext_ext.audio.limits import SAMPLE_RATE, AudioError
from maxtext_ext.audio.pieces import cut_pieces
from maxtext_ext.audio.voice import FRAME
from maxtext_ext.config import load
from maxtext_ext.text.joining import join_texts
from maxtext_ext.train.loop import train
from maxtext_ext.transcriber import _blocks
from tests import tiny

pytestmark = pytest.mark.slow

SECONDS = (0.3, 1.0, 3.3, 9.5, 0.02)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> pathlib.Path:
  """Weights as they were drawn, which no order of the data moves; prompts and clips tell."""
  folder = tmp_path_factory.mktemp("run")
  keys = [*tiny.make_run(folder), "steps=1", "learning_rate=0", "checkpoint_period=1"]
  keys += ["warmup_steps_fraction=0", "logits_via_embedding=false", "embedding_init_std=1"]
  return pathlib.Path(train(load(tiny.DEMO, keys)).run_dir)


@pytest.fixture(scope="module")
def transcriber(run_dir) -> Transcriber:
  made = Transcriber.from_pretrained(run_dir, max_new_tokens=12)
  made.warm_up(seconds=2.0)  # of the clips here
  return made


def clips() -> list[np.ndarray]:
  return [tiny.records(1, seed=i, seconds=(s, s + 1e-4))[0].audio for i, s in enumerate(SECONDS)]


def test_a_clip_does_not_depend_on_what_is_transcribed_with_it(transcriber):
  together = transcriber.transcribe(clips())
  assert [transcriber.transcribe(clip) for clip in clips()] == together
  assert transcriber.transcribe(clips()[::-1]) == together[::-1]
  assert len({result.text for result in together}) > 1, "the clips differ in what they say"
  assert [result.seconds for result in together] == pytest.approx(SECONDS, abs=1e-3)
  assert transcriber.transcribe([]) == []


def as_file(samples: np.ndarray, path: pathlib.Path) -> pathlib.Path:
  soundfile.write(path, samples, SAMPLE_RATE, subtype="FLOAT")
  return path


def test_every_form_of_audio_gives_the_same(transcriber, tmp_path):
  clip = clips()[2]
  path = as_file(clip, tmp_path / "clip.wav")
  forms = [str(path), path, path.read_bytes(), clip, clip.astype(np.float64), (clip, SAMPLE_RATE)]
  results = transcriber.transcribe(forms)
  assert results == [transcriber.transcribe(clip)] * len(forms)


def test_other_rates_are_resampled(transcriber):
  result = transcriber.transcribe((clips()[1], 8_000))
  assert result.seconds == pytest.approx(2 * SECONDS[1], abs=1e-3)


def test_language_and_context_belong_to_their_clip(transcriber):
  clip = clips()[2]
  languages, contexts = ["hebrew", None, "English", None], ["", "one two", "", ""]
  each = transcriber.transcribe([clip] * 4, languages, contexts)
  assert each[0] == transcriber.transcribe(clip, "Hebrew")
  assert each[1] == transcriber.transcribe(clip, context="one two")
  assert each[3] == transcriber.transcribe(clip)
  assert [result.language for result in each[::2]] == ["Hebrew", "English"]
  assert len({result.text for result in each}) > 2, "the prompt counts"
  assert transcriber.transcribe([clip] * 4, "Hebrew", "") == [each[0]] * 4
  again = transcriber.transcribe([clip] * 4, ["he", "und", "heb", None], [None, None, "", None])
  assert again == [each[0], each[3], each[0], each[3]], "codes, and no context"


def test_the_key_context_is_the_default(transcriber, monkeypatch):
  clip = clips()[2]
  with_context = transcriber.transcribe(clip, context="one two")
  plain = transcriber.transcribe(clip)
  monkeypatch.setattr(transcriber, "_context", "one two")
  assert with_context != plain
  assert transcriber.transcribe([clip] * 2, context=[None, ""]) == [with_context, plain]


@pytest.mark.parametrize(
  ("keys", "said"),
  [
    ({"piece_seconds": 4.0}, "use --piece-seconds"),
    ({"language_in_prompt": False}, "language_in_prompt=false: a language that is given"),
    ({"split": "test", "output": "o"}, "^split, output: only for `maxtext-ext decode`"),
  ],
)
def test_keys_that_mean_nothing_here(keys, said):
  with pytest.raises(ValueError, match=said):
    Transcriber.from_pretrained("gone", **keys)


def test_a_transcript_that_is_cut_says_so(transcriber):
  results = transcriber.transcribe(clips())
  assert not all(result.complete for result in results), "weights as drawn seldom end by themselves"


BAD = {
  "a missing file": ("gone.wav", "gone.wav: audio file not found"),
  "bytes that are no sound": (b"text", "cannot decode 4 bytes"),
  "no samples": (np.zeros(0, np.float32), "0 samples"),
  "not a number": (np.array([0.1, np.nan], np.float32), "NaN"),
  "two channels": (np.ones((100, 2), np.float32), "one channel"),
  "integers as floats": (np.full(100, 2e4, np.float32), "expected at most 1"),
  "wrong type": (np.ones(100, np.int64), "array of int64"),
  "too long": (np.broadcast_to(np.int16(1), 36_001 * SAMPLE_RATE), "longer than 36000 s"),
  "a rate that is none": ((np.ones(100, np.float32), 5), "sample rate is 5 Hz"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_audio_says_what_and_which(transcriber, case):
  audio, said = BAD[case]
  with pytest.raises(AudioError, match=said) as alone:
    transcriber.transcribe(audio)
  assert "audio[" not in str(alone.value)
  with pytest.raises(AudioError, match=rf"^audio\[1\]: .*{said}"):
    transcriber.transcribe([clips()[0], audio])


@pytest.mark.parametrize(
  ("audio", "said"),
  [
    ((np.ones(100, np.float32), "16000"), "the sampling rate is '16000', expected a number of Hz"),
    ((np.ones(100, np.float32), None), "the sampling rate is None"),
    ((np.ones(100, np.float32), 16_000, 1), "got tuple, expected a path"),
    ((), "got tuple, expected a path"),
    ((16_000, np.ones(100, np.float32)), "got int, expected a path"),
  ],
)
def test_a_pair_that_is_none_says_what_is_expected(audio, said):
  with pytest.raises(AudioError, match=said):
    list(_blocks(audio)())


def test_long_audio_is_the_sum_of_its_pieces(transcriber, tmp_path):
  clip = np.concatenate([*clips(), np.zeros(5 * SAMPLE_RATE, np.float32), *clips()[::-1]])
  together = transcriber.transcribe(as_file(clip, tmp_path / "long.wav"), "en", piece_seconds=4.0)
  pieces = list(cut_pieces([clip], 4 * SAMPLE_RATE))
  alone = [transcriber.transcribe(piece.samples, "en") for piece in pieces]
  assert together.text == join_texts(each.text for each in alone)
  assert [segment.text for segment in together.segments] == [each.text for each in alone]
  assert len({segment.text for segment in together.segments}) > 2, "what they say differs"
  assert together.seconds == pytest.approx(len(clip) / SAMPLE_RATE)
  assert together == transcriber.transcribe(clip, "en", piece_seconds=4.0)


def test_silence_has_no_text(transcriber):
  result = transcriber.transcribe(np.zeros(3 * SAMPLE_RATE, np.float32))
  assert (result.text, result.language, result.finish_reason) == ("", None, "no_speech")
  assert result.complete


def test_speech_may_be_detected_first(transcriber, monkeypatch):
  loud = clips()[1]
  clip = np.concatenate([loud / 10, np.zeros(4 * SAMPLE_RATE, np.float32), loud])
  heard_by_level = lambda: lambda part: np.abs(part.reshape(-1, FRAME)).max(1) > 0.1  # noqa: E731
  monkeypatch.setattr("maxtext_ext.transcriber.VoiceActivity", heard_by_level)
  result = transcriber.transcribe(clip, vad=True)
  assert [bool(segment.speech_seconds) for segment in result.segments] == [False, True]
  assert result.segments[0].finish_reason == "no_speech"


@pytest.mark.parametrize("seconds", [0.5, 1200.5])
def test_the_length_of_pieces_has_bounds(transcriber, seconds):
  with pytest.raises(ValueError, match=r"piece_seconds is .*, expected 1 to 1200"):
    transcriber.transcribe(clips()[0], piece_seconds=seconds)


def test_lists_must_match(transcriber):
  with pytest.raises(ValueError, match="2 clips, but a language list of 1"):
    transcriber.transcribe(clips()[:2], ["Hebrew"])


def test_a_converted_folder_is_enough(transcriber, run_dir, tmp_path):
  """Its layout: model.yml, the tokenizer and one checkpoint named 0, wherever it is moved."""
  moved = tmp_path / "moved"
  moved.mkdir()
  for name in ("model.yml", "tokenizer.json", "tokenizer_config.json"):
    shutil.copy(run_dir / name, moved / name)
  shutil.copytree(run_dir / "checkpoints" / "1", moved / "0")
  again = Transcriber.from_pretrained(moved, max_new_tokens=12)
  assert again.transcribe(clips()[0]) == transcriber.transcribe(clips()[0])


@pytest.mark.parametrize(
  ("overrides", "said"),
  [({}, "no model.yml there"), ({"max_new_token": 3}, "did you mean max_new_tokens")],
)
def test_what_cannot_be_loaded(run_dir, overrides, said):
  path = run_dir if overrides else run_dir / "checkpoints"
  with pytest.raises(ValueError, match=said):
    Transcriber.from_pretrained(path, **overrides)


def test_the_package_itself_is_light():
  script = (
    "import sys, maxtext_ext\n"
    "print('jax' in sys.modules, 'numpy' in sys.modules, hasattr(maxtext_ext, 'nothing'))"
  )
  done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
  assert done.stdout.split() == ["False", "False", "False"]
  assert Transcription.__name__ == "Transcription"


def test_a_lora_run_is_loaded_with_its_base(transcriber, run_dir, tmp_path):
  """A run that goes on from the first one; its checkpoints hold adapters only."""
  keys = [*tiny.make_run(tmp_path, train=8, test=1), f"load_parameters_path={run_dir}"]
  keys += [f"model_name={run_dir}", "lora_rank=4", "steps=1", "learning_rate=0.5"]
  lora = train(load(tiny.DEMO, [*keys, "warmup_steps_fraction=0"]))
  adapted = Transcriber.from_pretrained(lora.run_dir, max_new_tokens=12)
  assert adapted.transcribe(clips()[2]).text != transcriber.transcribe(clips()[2]).text
