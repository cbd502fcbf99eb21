"""Reading of sound files by threads, as `decode` reads a folder: audio seconds a second (RTFx).

    python -m benchmarks.read_sounds

Clips of 8 s in the usual formats are decoded and resampled by one thread and by one for each core.
`lock` is the RTFx that no number of threads exceeds: the time of a thread outside libsndfile and
soxr, where it holds the interpreter's lock. `processes` decode as many at once and send the samples
back through a pipe, as a process pool does.

A JSON line at the end.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import soundfile
import soxr
from rich.console import Console
from rich.table import Table

from maxtext_ext.audio.io import load_audio
from maxtext_ext.audio.limits import SAMPLE_RATE

SECONDS = 8.0  # of a clip
FORMATS = (("wav", 16_000), ("flac", 16_000), ("mp3", 16_000), ("wav", 48_000), ("mp3", 44_100))
TURNS = 3


def write_clips(folder: str, kind: str, rate: int, count: int) -> list[str]:
  """Writes tones with noise; returns the paths."""
  times = np.arange(round(SECONDS * rate)) / rate
  paths = [os.path.join(folder, f"{number}-{rate}.{kind}") for number in range(count)]
  for number, path in enumerate(paths):
    rng = np.random.default_rng(number)
    tones = sum(np.sin(2 * np.pi * pitch * times) / pitch for pitch in (120, 240, 480, 1_500))
    soundfile.write(path, 20 * tones + rng.normal(scale=0.01, size=len(times)), rate)
  return paths


def rtfx(paths: list[str], load: Callable[[list[str]], Iterable[np.ndarray]]) -> float:
  """Measures the best of some turns."""
  best = np.inf
  for _ in range(TURNS):
    start = time.perf_counter()
    for _ in load(paths):
      pass
    best = min(best, time.perf_counter() - start)
  return SECONDS * len(paths) / best


class Outside:
  """Time of this thread outside libsndfile and soxr."""

  def __init__(self) -> None:
    self._inside = 0.0

  def _timed[**P, R](self, function: Callable[P, R]) -> Callable[P, R]:
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
      start = time.thread_time()
      result = function(*args, **kwargs)
      self._inside += time.thread_time() - start
      return result

    return call

  def measure(self, paths: list[str]) -> float:
    """Returns seconds a clip."""
    read, resample = soundfile.SoundFile._cdata_io, soxr.ResampleStream.resample_chunk
    soundfile.SoundFile._cdata_io = self._timed(read)
    soxr.ResampleStream.resample_chunk = self._timed(resample)
    start = time.thread_time()
    for path in paths:
      load_audio(path)
    total = time.thread_time() - start
    soundfile.SoundFile._cdata_io, soxr.ResampleStream.resample_chunk = read, resample
    return (total - self._inside) / len(paths)


def main() -> None:
  """Measures, and prints the table and the JSON line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--clips", type=int, default=100)
  parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
  options = parser.parse_args()
  columns = ("1 thread", f"{options.workers} threads", f"{options.workers} processes", "lock")
  table = Table(title=f"RTFx of reading clips of {SECONDS:g} s")
  for name in ("format", *columns):
    table.add_column(name, justify="right" if name in columns else "left")
  line: dict[str, dict[str, int]] = {}
  context = multiprocessing.get_context("forkserver")
  with (
    tempfile.TemporaryDirectory() as folder,
    ThreadPoolExecutor(options.workers) as threads,
    ProcessPoolExecutor(options.workers, mp_context=context) as processes,
  ):
    for kind, rate in FORMATS:
      paths = write_clips(folder, kind, rate, options.clips)
      assert all(
        len(samples) == SECONDS * SAMPLE_RATE for samples in processes.map(load_audio, paths)
      )
      values = (
        rtfx(paths, lambda paths: map(load_audio, paths)),
        rtfx(paths, lambda paths: threads.map(load_audio, paths)),
        rtfx(paths, lambda paths: processes.map(load_audio, paths)),
        SECONDS / Outside().measure(paths),
      )
      name = f"{kind}, {rate // 1000} kHz"
      line[name] = dict(zip(columns, map(round, values), strict=True))
      table.add_row(name, *(f"{value:,.0f}" for value in values))
  Console(width=100).print(table)
  print(json.dumps({"name": "read_sounds", **line}))


if __name__ == "__main__":
  main()
