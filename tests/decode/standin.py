"""A decode with a stand-in for the engine, also as a program that tests start and kill.

An answer is made of the clip's id alone, so that transcripts can be checked.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Generator, Iterator

import numpy as np

from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.decode.division import Division, share_of_host
from maxtext_ext.decode.driver import Tally, decode_shards
from maxtext_ext.decode.folder import Manifest, OutputFolder
from maxtext_ext.decode.parts import Part
from maxtext_ext.evaluate.hypothesis import ERROR, Hypothesis
from maxtext_ext.input.drops import DropCounter
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.sources.fields import Fields

GEOMETRY = Geometry(
  frames_per_chunk=100, halvings=3, chunks_per_window=8, tails_share_windows=True, min_samples=400
)
EMPTY = np.zeros(0, np.int32)


def ids(clips: int) -> list[str]:
  return [f"folder/{number}.wav" for number in range(clips)]


def is_bad(name: str) -> bool:
  return name.endswith("3.wav")


def is_long(name: str) -> bool:
  return name.endswith("5.wav")


def text_of(name: str) -> str:
  """Transcript that the line of a clip has to have."""
  if is_bad(name):
    return ""
  parts = [f"{name} from {start} s" for start in (0, 60)] if is_long(name) else [name]
  return " ".join(f"text of {part}" for part in parts)


def read(names: list[str], place: int) -> Generator[Part | Hypothesis, None, None]:
  """A clip without sound; every tenth cannot be read, others are long with silence inside."""
  name = names[place]
  if is_bad(name):
    yield Hypothesis(id=name, reference="", hypothesis="", extra={ERROR: "no sound"})
    return
  fields = Fields(sample_id=name, text="", dataset_name="", language=None, prompt="", speaker=None)
  if not is_long(name):
    yield Part(fields=fields, seconds=0.0, utterance=utterance(name))
    return
  for start in (0, 30, 60):
    heard = None if start == 30 else utterance(f"{name} from {start} s")
    yield Part(fields=fields, start=start, seconds=30.0, utterance=heard, last=start == 60)


def utterance(name: str) -> Utterance:
  return Utterance(
    sample_id=name,
    dataset_name="",
    language=None,
    text="",
    samples=EMPTY,
    prompt=EMPTY,
    target=EMPTY,
    audio_start=0,
    geometry=GEOMETRY,
  )


def answers(
  clips: Iterator[Utterance], *, seed: int, slots: int = 7, each: Callable[[], None] = lambda: None
) -> Iterator[Hypothesis]:
  """Answers clips in random order, a few at a time, as an engine with slots does."""
  rng = random.Random(seed)
  waiting: list[Utterance] = []
  more = True
  while more or waiting:
    while more and len(waiting) < slots:
      clip = next(clips, None)
      more = clip is not None
      waiting += [clip] if clip else []
    if waiting:
      clip = waiting.pop(rng.randrange(len(waiting)))
      each()
      yield Hypothesis(id=clip.sample_id, reference="", hypothesis=f"text of {clip.sample_id}")


def decode(
  path: str,
  clips: int,
  *,
  host: int = 0,
  hosts: int = 1,
  seed: int = 0,
  each: Callable[[], None] = lambda: None,
) -> Tally:
  """Does what `decode.decode` does on one host, without a model."""
  names = ids(clips)
  division = Division.of(names, 5)
  folder = OutputFolder(path, Manifest.of(division, {"step": 1}))
  folder.join()
  left = folder.unfinished()
  random.Random(seed).shuffle(left)
  return decode_shards(
    folder,
    division,
    share_of_host(left, host, hosts),
    lambda place: read(names, place),
    lambda clips: answers(clips, seed=seed + host, each=each),
    threads=2,
    failures=DropCounter(1.0),
  )


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument("path")
  parser.add_argument("clips", type=int)
  parser.add_argument("--hosts", type=int, nargs=2, default=(0, 1))
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--seconds", type=float, default=0.0, help="of each clip")
  arguments = parser.parse_args()
  if "://" in arguments.path:
    import gcsfs.retry

    from maxtext_ext.files import connection

    # It sleeps min(2**n, 32) seconds between its attempts.
    gcsfs.retry.min = lambda *seconds: 0
    connection.SILENCE_SECONDS = 0.5

  def each() -> None:
    time.sleep(arguments.seconds)
    sys.stdout.write(".")
    sys.stdout.flush()

  host, hosts = arguments.hosts
  decode(arguments.path, arguments.clips, host=host, hosts=hosts, seed=arguments.seed, each=each)


if __name__ == "__main__":
  main()
