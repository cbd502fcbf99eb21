"""Clips that several jobs decode twice when they share one output folder.

    python -m benchmarks.shared_folder --jobs 2 --clips 6400

The jobs begin together and know nothing of each other but the folder. A stand-in for the engine
holds as many clips as one with 32 slots does.

A JSON line at the end.
"""

import argparse
import heapq
import itertools
import json
import random
import tempfile
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from maxtext_ext.decode.division import Division
from maxtext_ext.decode.driver import Tally, decode_shards
from maxtext_ext.decode.folder import Manifest, OutputFolder
from maxtext_ext.decode.parts import Part
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.input.drops import DropCounter
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
from maxtext_ext.sources.fields import Fields

SLOTS = 32
AHEAD = 4 * SLOTS  # clips that are read together
SECOND = 0.02  # seconds that the stand-in takes for the median length of a clip
NOTHING = np.zeros(0, np.int32)


def read(place: int) -> Generator[Part, None, None]:
  """Makes a clip without sound."""
  name = str(place)
  fields = Fields(sample_id=name, text="", dataset_name="", language=None, prompt="", speaker=None)
  utterance = Utterance(
    sample_id=name,
    dataset_name="",
    language=None,
    text="",
    samples=NOTHING,
    prompt=NOTHING,
    target=NOTHING,
    audio_start=0,
    geometry=GEOMETRY,
  )
  yield Part(fields=fields, seconds=0.0, utterance=utterance)


def answer(clips: Iterator[Utterance], seed: int) -> Iterator[Hypothesis]:
  """Answers clips of log-normal lengths as an engine does that reads ahead and sorts by length."""
  rng = random.Random(seed)
  ahead: list[tuple[float, str]] = []
  slots: list[tuple[float, str]] = []  # heap of ends
  now = 0.0
  while True:
    while len(slots) < SLOTS:
      if not ahead:
        read = itertools.islice(clips, AHEAD)
        ahead = sorted((rng.lognormvariate(0, 0.6), clip.sample_id) for clip in read)
      if not ahead:
        break
      length, name = ahead.pop()
      heapq.heappush(slots, (now + length, name))
    if not slots:
      return
    end, name = heapq.heappop(slots)
    time.sleep((end - now) * SECOND)
    now = end
    yield Hypothesis(id=name, reference="", hypothesis=name)


def run_job(path: str, division: Division, seed: int) -> Tally:
  """Does what `decode` does, without a model."""
  folder = OutputFolder(path, Manifest.of(division, {}))
  folder.join()
  shards = folder.unfinished()
  random.Random(seed).shuffle(shards)
  return decode_shards(
    folder,
    division,
    shards,
    read,
    lambda clips: answer(clips, seed),
    threads=1,
    failures=DropCounter(1.0),
  )


def main() -> None:
  """Measures, and prints the JSON line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--jobs", type=int, default=2)
  parser.add_argument("--clips", type=int, default=6_400)
  parser.add_argument("--clips-per-shard", type=int, default=64)
  options = parser.parse_args()
  division = Division.of([str(place) for place in range(options.clips)], options.clips_per_shard)
  with tempfile.TemporaryDirectory() as path, ThreadPoolExecutor(options.jobs) as pool:
    jobs = [pool.submit(run_job, path, division, seed) for seed in range(options.jobs)]
    decoded = sum(job.result().clips for job in jobs)
  repeated = decoded - options.clips
  line = {
    "name": f"shared_folder_{options.jobs}_jobs",
    "clips": options.clips,
    "shards": division.shards,
    "decoded_twice": repeated,
    "share": round(repeated / options.clips, 4),
  }
  print(json.dumps(line))


if __name__ == "__main__":
  main()
