"""The speech engine: sound where there should be, errors where espeak-ng would stay silent."""

import os
import subprocess
import sys
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest

from maxtext_ext.demo import corpus, espeak
from maxtext_ext.demo.words import LEXICONS


def fundamental(samples: np.ndarray) -> float:
  """The pitch in Hz, from the largest autocorrelation between 60 and 400 Hz."""
  x = samples.astype(np.float64)
  correlation = np.fft.irfft(np.abs(np.fft.rfft(x, 2 * len(x))) ** 2)
  shortest, longest = espeak.SAMPLE_RATE // 400, espeak.SAMPLE_RATE // 60
  return espeak.SAMPLE_RATE / (shortest + np.argmax(correlation[shortest:longest]))


def test_speech_is_loud_and_not_overdriven() -> None:
  samples = espeak.engine().synthesize("hello water", "en+m1")
  assert samples.dtype == np.int16
  assert 0.5 < len(samples) / espeak.SAMPLE_RATE < 1.5
  assert 2_000 < np.abs(samples.astype(int)).max() < 32_767


def test_rate_pitch_and_gap_do_what_they_say() -> None:
  speak = espeak.engine().synthesize
  assert len(speak("one two three", "en+m1", rate=260)) < 0.75 * len(
    speak("one two three", "en+m1", rate=130)
  )
  assert len(speak("one two three", "en+m1", word_gap=20)) > 1.2 * len(
    speak("one two three", "en+m1")
  )
  low, high = (fundamental(speak("no", "en+m3", pitch=p, pitch_range=0)) for p in (40, 80))
  assert high > 1.3 * low


def test_variants_sound_different() -> None:
  speak = espeak.engine().synthesize
  high = fundamental(speak("no", "en+f2", pitch_range=0))
  assert high > 1.3 * fundamental(speak("no", "en+m3", pitch_range=0))


def test_every_voice_of_the_corpus_exists_and_speaks() -> None:
  for variants in corpus.VARIANTS.values():
    for variant in variants:
      for lexicon in LEXICONS.values():
        assert (
          espeak.engine()
          .synthesize(lexicon.words[0].spoken, f"{lexicon.voices[0]}+{variant}")
          .any()
        )


@pytest.mark.parametrize(
  ("voice", "message"),
  [
    ("en+nobody", "no variant 'nobody'; known: .*f1"),
    ("en-gb+f1", "no voice 'en-gb'"),
    ("xx", "no voice 'xx'"),
  ],
)
def test_an_unknown_voice_is_an_error(voice: str, message: str) -> None:
  with pytest.raises(ValueError, match=message):
    espeak.engine().synthesize("one", voice)
  assert espeak.engine().synthesize("one", "en+f1").any()  # still works


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_no_words_no_sound(text: str) -> None:
  with pytest.raises(ValueError, match="made no sound"):
    espeak.engine().synthesize(text, "en+f1")


def test_a_deep_installation_works(tmp_path: Path) -> None:
  """espeak-ng alone fails where its data path is over 160 bytes long."""
  deep = tmp_path.joinpath(*["d" * 40] * 5)
  deep.mkdir(parents=True)
  data = deep / "espeak-ng-data"
  data.symlink_to(espeakng_loader.get_data_path(), target_is_directory=True)
  program = (
    "import sys, espeakng_loader; espeakng_loader.get_data_path = lambda: sys.argv[1];"
    "from maxtext_ext.demo import espeak; print(len(espeak.engine().synthesize('one', 'en+f1')))"
  )
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
  done = subprocess.run(
    [sys.executable, "-c", program, str(data)],
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert int(done.stdout) > 1000
