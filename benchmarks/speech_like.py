"""Synthetic clips that compress and vary like recorded speech, with texts.

White noise does not compress and silence vanishes, so neither tells what reading a corpus costs.
This is a source and filter: pulses of a gliding pitch and noise for voiceless sounds, through a
spectrum that changes from sound to sound, in syllables, with pauses and a noise floor, rounded to
16 bits. FLAC brings it to about half, as it does LibriSpeech (60 GB of 1000 h).
"""

from dataclasses import dataclass

import numpy as np

from maxtext_ext.audio.limits import SAMPLE_RATE

FRAME = 512  # samples of a synthesis window, half overlapping
STEP = FRAME // 2
SOUND_FRAMES = 6  # a sound lasts about 100 ms
POOL_SECONDS = 60  # for each voice; clips are parts of it at a level of their own
VOICES = (100.0, 130.0, 180.0, 220.0)  # Hz
WORDS_PER_SECOND = 2.5
SYLLABLES = ("ba", "ne", "to", "ri", "sha", "mo", "ler", "in", "est", "um", "ka", "vi")


@dataclass(frozen=True)
class Clip:
  """One utterance; `samples` are int16."""

  samples: np.ndarray
  text: str

  @property
  def seconds(self) -> float:
    """Length in seconds."""
    return len(self.samples) / SAMPLE_RATE


def draw_seconds(rng: np.random.Generator, count: int) -> np.ndarray:
  """Log-normal durations, median 6 s, sigma 0.7, clipped to 0.5-30 s."""
  return np.clip(6 * np.exp(0.7 * rng.standard_normal(count)), 0.5, 30)


def make_clips(count: int, seed: int = 0) -> list[Clip]:
  """Makes clips with durations of `draw_seconds`, each a part of one voice at its own level."""
  rng = np.random.default_rng(seed)
  voices = [_voice(rng, pitch) for pitch in VOICES]
  words = ["".join(rng.choice(SYLLABLES, size=size)) for size in rng.integers(1, 4, 2_000).tolist()]
  frequency = 1 / np.arange(1, len(words) + 1)  # Zipf's law
  frequency /= frequency.sum()
  clips = []
  for seconds in draw_seconds(rng, count).tolist():
    length = int(seconds * SAMPLE_RATE)
    voice = voices[int(rng.integers(len(voices)))]
    start = int(rng.integers(len(voice) - length))
    level = np.float32(10 ** rng.uniform(-0.5, 0.2))
    samples = np.clip(np.rint(voice[start : start + length] * level), -32_768, 32_767)
    spoken = rng.choice(words, size=max(1, round(seconds * WORDS_PER_SECOND)), p=frequency)
    clips.append(Clip(samples.astype(np.int16), " ".join(spoken)))
  return clips


def _voice(rng: np.random.Generator, pitch: float) -> np.ndarray:
  """float32 in the range of int16, RMS 2000 over a floor of 12."""
  frames = POOL_SECONDS * SAMPLE_RATE // STEP
  sounds = frames // SOUND_FRAMES + 2
  length = frames * STEP + STEP
  pitches = pitch * np.exp(0.15 * rng.standard_normal(sounds))
  glide = np.interp(np.arange(length), np.arange(sounds) * SOUND_FRAMES * STEP, pitches)
  phase = 2 * np.pi * np.cumsum(glide) / SAMPLE_RATE
  pulses = np.exp(12 * (np.cos(phase) - 1))
  breath = rng.standard_normal(length)

  vowels, hisses = _spectra(rng, sounds)
  voiced = rng.random((sounds, 1)) < 0.7
  heard = rng.random((sounds, 1)) < 0.8  # the others are pauses
  loudness = heard * np.exp(0.5 * rng.standard_normal((sounds, 1)))
  voice = _filter(pulses, vowels * voiced * loudness, frames)
  voice += _filter(breath, (0.02 * vowels * voiced + 0.05 * hisses * ~voiced) * loudness, frames)
  voice *= 2_000 / voice.std()
  return (voice + 12 * rng.standard_normal(len(voice))).astype(np.float32)


def _spectra(rng: np.random.Generator, sounds: int) -> tuple[np.ndarray, np.ndarray]:
  """Draws spectra of a vowel (three formants, falling in level) and a hiss for every sound."""
  hertz = np.fft.rfftfreq(FRAME, 1 / SAMPLE_RATE)
  vowels = np.zeros((sounds, len(hertz)))
  for strength, low, high in ((1, 250, 800), (1 / 2, 800, 2_400), (1 / 3, 2_400, 3_200)):
    centre = rng.uniform(low, high, (sounds, 1))
    vowels += strength / (1 + ((hertz - centre) / 120) ** 2)
  hisses = 1 / (1 + ((hertz - rng.uniform(3_000, 6_000, (sounds, 1))) / 1_500) ** 2)
  return vowels, hisses


def _filter(source: np.ndarray, spectra: np.ndarray, frames: int) -> np.ndarray:
  """The source through spectra that change from one sound to the next, by overlap and add."""
  sound, part = np.divmod(np.arange(frames) / SOUND_FRAMES, 1)
  sound, part = sound.astype(int), part[:, None]
  spectrum = spectra[sound] * (1 - part) + spectra[sound + 1] * part
  cut = np.lib.stride_tricks.sliding_window_view(source, FRAME)[::STEP]
  filtered = np.fft.irfft(np.fft.rfft(cut * np.hanning(FRAME + 1)[:FRAME]) * spectrum, FRAME)
  out = np.zeros(len(source))
  out[:-STEP] += filtered[:, :STEP].reshape(-1)
  out[STEP:] += filtered[:, STEP:].reshape(-1)
  return out
