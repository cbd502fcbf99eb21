"""Sound of utterances, found in records, in a folder or at the path that a line gives."""

import os
from collections.abc import Iterator, Sequence

import numpy as np
from etils import epath

from maxtext_ext.audio.io import load_audio
from maxtext_ext.audio.limits import SAMPLE_RATE, AudioError
from maxtext_ext.evaluate.hypothesis import Hypothesis, number
from maxtext_ext.evaluate.hypothesis_line import AUDIO_NAMES
from maxtext_ext.records.manifest import list_shards
from maxtext_ext.records.reader import RecordSource
from maxtext_ext.records.schema import decode_example
from maxtext_ext.records.split_lengths import find_or_scan_lengths

_ENDINGS = ("", ".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")


def find_sounds(
  utterances: Sequence[Hypothesis], place: str | os.PathLike[str] | None, *, max_seconds: float
) -> list[np.ndarray | None]:
  """Finds the sound of utterances; None for those that have none.

  Args:
    place: folder of records (of any split) or of sound files, which lines name by a path or their
      id; None: only the paths of the lines.
    max_seconds: the beginning of longer clips.

  Returns:
    [T] float32 at 16 kHz for each.

  Raises:
    ValueError: there is no such folder.
  """
  folder = None if place is None else require_folder(place)
  shards = [] if folder is None else list_shards(os.fspath(folder))
  if shards:
    return _from_records(utterances, shards, max_seconds)
  return [_from_file(item, folder, max_seconds) for item in utterances]


def require_folder(place: str | os.PathLike[str]) -> epath.Path:
  """Returns the folder of sound. Raises ValueError where there is none."""
  folder = epath.Path(place)
  if not folder.is_dir():
    raise ValueError(f"{folder}: no such folder; expected records or sound files")
  return folder


def _from_records(
  utterances: Sequence[Hypothesis], shards: list[str], max_seconds: float
) -> list[np.ndarray | None]:
  lengths = find_or_scan_lengths(shards)
  wanted = {item.id for item in utterances}
  places = {
    record.sample_id: place
    for place in range(len(lengths))
    if (record := lengths[place]) is not None and record.sample_id in wanted
  }
  source = RecordSource(shards)
  sounds: list[np.ndarray | None] = []
  for item in utterances:
    if item.id not in places:
      sounds.append(None)
      continue
    record = decode_example(source[places[item.id]])
    sounds.append(record.as_float32()[: round(SAMPLE_RATE * max_seconds)])
  return sounds


def _from_file(
  item: Hypothesis, folder: epath.Path | None, max_seconds: float
) -> np.ndarray | None:
  path = next((path for path in _candidates(item, folder) if path.is_file()), None)
  if path is None:
    return None
  offset = number(item, "offset") or 0.0
  # Files that are as long as the line says may be shorter by a little, which is no error.
  cut = offset > 0 or item.duration > max_seconds
  seconds = min(item.duration or max_seconds, max_seconds) if cut else None
  try:
    samples = load_audio(os.fspath(path), offset=offset, duration=seconds)
  except AudioError:
    return None
  return samples[: round(SAMPLE_RATE * max_seconds)]


def _candidates(item: Hypothesis, folder: epath.Path | None) -> Iterator[epath.Path]:
  named = [item.extra[name] for name in AUDIO_NAMES if isinstance(item.extra.get(name), str)]
  for path in named:
    if "://" not in path:  # a bucket is only asked where the folder is in it
      yield epath.Path(path)
      if folder is not None:
        yield folder / path
    if folder is not None:
      yield folder / os.path.basename(path)
  if folder is not None:
    for ending in _ENDINGS:
      yield folder / f"{item.id}{ending}"
