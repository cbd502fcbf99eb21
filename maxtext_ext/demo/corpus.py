"""Small synthetic speech corpus: phrases of one to four words in English, Arabic and Hebrew.

Every choice (words, voice, speed, pitch, silence, level, noise) follows from the seed. Each
shard is made in a fresh process, so the samples do not depend on the number of processes.
"""

import concurrent.futures
import dataclasses
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soxr

from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.demo import espeak
from maxtext_ext.demo.words import LEXICONS, Word
from maxtext_ext.records.schema import AudioFormat, Record, encode_example
from maxtext_ext.sources.tfrecord import write_tfrecord

DATASET_NAME = "demo_espeak"
MAX_WORDS = 4
HELD_OUT_WORDS = 3  # test and validation texts of this many words or more are not trained on
MAX_SPEECH_SECONDS = 2.85  # a longer phrase is spoken faster

# espeak-ng voice variants; no variant serves two splits.
VARIANTS = {
  "train": (
    *("f1", "f3", "f4", "f5", "m1", "m2", "m4", "m5", "m6", "m8", "Alex", "Alicia", "Andrea"),
    *("Denis", "Lee", "linda", "steph", "victor", "paul", "norbert", "boris", "aunty", "grandma"),
    *("ed", "john", "mike2", "pablo", "zac", "belinda", "marcelo"),
  ),
  "validation": ("Andy", "Jacky", "david", "shelby"),
  "test": ("f2", "m3", "m7", "Annie", "edward", "robert", "michel", "anika"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
  """Random choices of one clip."""

  sample_id: str
  language: str
  words: tuple[Word, ...]
  voice: str  # espeak-ng's name, base+variant
  rate: int  # words a minute
  pitch: int
  pitch_range: int
  word_gap: int
  lead: int  # samples of silence before
  tail: int  # samples of silence after
  peak: float  # largest |sample| of the speech
  noise: float  # standard deviation
  noise_seed: int

  @property
  def speaker(self) -> str:
    """The variant, which is the voice in all languages."""
    return self.voice.rpartition("+")[2]

  @property
  def text(self) -> str:
    """The target: without vowel marks."""
    return " ".join(word.written for word in self.words)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusSummary:
  """Counts of the written corpus.

  Attributes:
    counts: clips of each split.
    seconds: audio of each split, in seconds.
    shards: files of each split.
    seen_test_share: share of test clips whose text (in the same language) occurs in training, with
      other voices. Texts of `HELD_OUT_WORDS` words or more never do.
    elapsed_seconds: wall-clock time.
  """

  counts: dict[str, int]
  seconds: dict[str, float]
  shards: dict[str, tuple[Path, ...]]
  seen_test_share: float
  elapsed_seconds: float


def plan(*, train: int, validation: int, test: int, seed: int) -> dict[str, list[Clip]]:
  """Chooses every clip of every split; languages take turns.

  Raises:
    ValueError: a split would be empty.
  """
  counts = {"train": train, "validation": validation, "test": test}
  empty = [split for split, count in counts.items() if count < 1]
  if empty:
    raise ValueError(f"no clips asked for in: {', '.join(empty)}; every split needs at least one")
  clips = {
    split: _plan_split(split, counts[split], seed, set()) for split in ("test", "validation")
  }
  held_out = {
    (clip.language, clip.text)
    for split in clips.values()
    for clip in split
    if len(clip.words) >= HELD_OUT_WORDS
  }
  return {"train": _plan_split("train", train, seed, held_out), **clips}


def seen_share(clips: list[Clip], training: list[Clip]) -> float:
  """Computes the share of `clips` whose text occurs in `training` in the same language."""
  trained = {(clip.language, clip.text) for clip in training}
  return sum((clip.language, clip.text) in trained for clip in clips) / len(clips)


def render(clip: Clip) -> np.ndarray:
  """Synthesizes a clip.

  Returns:
    [T] float32 in [-1, 1] at `SAMPLE_RATE`.
  """
  spoken = " ".join(word.spoken for word in clip.words)
  rate = clip.rate
  while True:
    speech = espeak.engine().synthesize(
      spoken,
      clip.voice,
      rate=rate,
      pitch=clip.pitch,
      pitch_range=clip.pitch_range,
      word_gap=clip.word_gap,
    )
    seconds = len(speech) / espeak.SAMPLE_RATE
    if seconds <= MAX_SPEECH_SECONDS:
      break
    rate = int(rate * 1.05 * seconds / MAX_SPEECH_SECONDS)
  speech = soxr.resample(speech.astype(np.float32), espeak.SAMPLE_RATE, SAMPLE_RATE)
  speech *= clip.peak / np.abs(speech).max()
  samples = np.pad(speech, (clip.lead, clip.tail))
  noise = np.random.default_rng(clip.noise_seed).standard_normal(len(samples), np.float32)
  return np.clip(samples + np.float32(clip.noise) * noise, -1, 1)


def synthesize(
  out_dir: str | os.PathLike[str],
  *,
  train: int = 9000,
  validation: int = 200,
  test: int = 450,
  seed: int = 1,
  shards: int = 8,
  audio: AudioFormat = "float32",
  workers: int | None = None,
  progress: Callable[[int, int], None] | None = None,
) -> CorpusSummary:
  """Writes `{out_dir}/{split}-00000-of-0000N.tfrecord` for train, validation and test.

  Args:
    out_dir: made if missing.
    train: clips to train on.
    validation: clips of four other voices.
    test: clips of eight other voices.
    seed: of every choice.
    shards: files of the training split; the others have one each.
    audio: how samples are stored.
    workers: processes at a time; None takes one a CPU core. Doesn't change what is written.
    progress: called with (clips done, clips in all) as shards get ready.

  Raises:
    ValueError: a count or `shards` below one, or `out_dir` holds shards of another division.
  """
  started = time.monotonic()
  if shards < 1:
    raise ValueError(f"shards={shards}; expected at least 1")
  plans = plan(train=train, validation=validation, test=test, seed=seed)
  out = Path(out_dir)
  files = {
    split: _shard_paths(out, split, min(shards, len(clips)) if split == "train" else 1)
    for split, clips in plans.items()
  }
  _refuse_leftovers(out, files)
  out.mkdir(parents=True, exist_ok=True)

  jobs = [
    (split, path, plans[split][i :: len(paths)])
    for split, paths in files.items()
    for i, path in enumerate(paths)
  ]
  seconds = dict.fromkeys(plans, 0.0)
  done, total = 0, sum(map(len, plans.values()))
  # "spawn": a fork would share espeak-ng's state, and is not safe beside jax's threads.
  with concurrent.futures.ProcessPoolExecutor(
    max_workers=min(workers or os.cpu_count() or 1, len(jobs)),
    mp_context=multiprocessing.get_context("spawn"),
    max_tasks_per_child=1,
  ) as pool:
    running = {
      pool.submit(_write_shard, path, clips, audio): (split, len(clips))
      for split, path, clips in jobs
    }
    for future in concurrent.futures.as_completed(running):
      split, clips = running[future]
      seconds[split] += future.result()
      done += clips
      if progress is not None:
        progress(done, total)
  return CorpusSummary(
    counts={split: len(clips) for split, clips in plans.items()},
    seconds=seconds,
    shards=files,
    seen_test_share=seen_share(plans["test"], plans["train"]),
    elapsed_seconds=time.monotonic() - started,
  )


def _plan_split(split: str, count: int, seed: int, held_out: set[tuple[str, str]]) -> list[Clip]:
  rng = np.random.default_rng([seed, list(VARIANTS).index(split)])
  languages = list(LEXICONS)
  return [_plan_clip(split, i, languages[i % len(languages)], rng, held_out) for i in range(count)]


def _plan_clip(
  split: str, index: int, language: str, rng: np.random.Generator, held_out: set[tuple[str, str]]
) -> Clip:
  lexicon = LEXICONS[language]
  variant = str(rng.choice(VARIANTS[split]))
  length = int(rng.integers(1, MAX_WORDS + 1))
  while True:
    words = tuple(lexicon.words[i] for i in rng.integers(len(lexicon.words), size=length))
    if (language, " ".join(word.written for word in words)) not in held_out:
      break
  return Clip(
    sample_id=f"{split}-{index:05d}-{lexicon.code}-{variant}",
    language=language,
    words=words,
    voice=f"{rng.choice(lexicon.voices)}+{variant}",
    rate=int(rng.integers(130, 260)),
    pitch=int(rng.integers(20, 80)),
    pitch_range=int(rng.integers(20, 80)),
    word_gap=int(rng.integers(0, 8)),
    lead=int(rng.integers(0, SAMPLE_RATE // 10)),
    tail=int(rng.integers(0, SAMPLE_RATE // 20)),
    peak=float(rng.uniform(0.3, 0.95)),
    noise=float(10 ** rng.uniform(-4, -2.3)),
    noise_seed=int(rng.integers(2**63)),
  )


def _shard_paths(out: Path, split: str, count: int) -> tuple[Path, ...]:
  return tuple(out / f"{split}-{i:05d}-of-{count:05d}.tfrecord" for i in range(count))


def _refuse_leftovers(out: Path, files: dict[str, tuple[Path, ...]]) -> None:
  """A reader takes every shard it finds: those of another division would mix in."""
  ours = {path for paths in files.values() for path in paths}
  others = sorted(
    path for split in files for path in out.glob(f"{split}-*.tfrecord") if path not in ours
  )
  if others:
    raise ValueError(
      f"{out} holds {len(others)} shards of another division, {others[0].name} first; remove them,"
      " or choose another directory"
    )


def _write_shard(path: Path, clips: list[Clip], audio: AudioFormat) -> float:
  """Renders and writes a shard in this process; returns its seconds of audio."""
  samples = 0

  def examples() -> Iterator[bytes]:
    nonlocal samples
    for clip in clips:
      record = Record(
        sample_id=clip.sample_id,
        audio=render(clip),
        text=clip.text,
        dataset_name=DATASET_NAME,
        language=clip.language,
        speaker=clip.speaker,
      )
      samples += len(record.audio)
      yield encode_example(record, audio)

  write_tfrecord(str(path), examples())
  return samples / SAMPLE_RATE
