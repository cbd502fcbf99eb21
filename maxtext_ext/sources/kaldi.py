"""Kaldi data folders: `text` and `wav.scp`, with optional `segments`, `utt2spk` and `utt2lang`.

Each line of `text` is a record. The other files are searched for a few thousand records at a time,
so they need not be sorted. Commands in wav.scp are never run; their recordings are quarantined.
SOURCE is such a folder, or the parent of folders named after splits (data/train, data/test).
"""

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping

from maxtext_ext.files import storage
from maxtext_ext.records.schema import RecordError
from maxtext_ext.sources.clip import Clip
from maxtext_ext.sources.lines import Line, LineRange, find_values
from maxtext_ext.sources.options import EVERY_OPTION, SourceOptions
from maxtext_ext.sources.rows import Row, RowShard, batched, from_working_folder, open_rows
from maxtext_ext.sources.splits import choose_folder

OPTIONS = EVERY_OPTION - {"audio_key", "text_key", "id_key"}
_TEXT, _SOUND = "text", "wav.scp"
_OPTIONAL = ("segments", "utt2spk", "utt2lang")
_ARCHIVE = re.compile(r".*\.(ark|gz):\d+(\[.*\])?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class KaldiReader:
  """Reads lines of `text`, and what the files beside it say of them."""

  def rows(self, part: LineRange) -> Iterator[tuple[int, Row | RecordError]]:
    """See RowReader."""
    folder = os.path.dirname(part.path)
    for lines in batched(part.read()):
      utterances = [_split(line) for line in lines]
      ids = [each[0] for each in utterances if not isinstance(each, RecordError)]
      segments = _look_up(folder, "segments", ids)
      recordings = (
        ids
        if segments is None
        else [part for each in segments.values() for part in each.split()[:1]]
      )
      sounds = _look_up(folder, _SOUND, recordings) or {}
      about = {
        "speaker": _look_up(folder, "utt2spk", ids) or {},
        "language": _look_up(folder, "utt2lang", ids) or {},
      }
      for line, utterance in zip(lines, utterances, strict=True):
        if isinstance(utterance, RecordError):
          yield line.number, utterance
          continue
        name, text = utterance
        try:
          clip = _clip_of(name, segments, sounds, folder)
        except RecordError as error:
          yield line.number, RecordError(str(error), name)
          continue
        values = {key: found[name] for key, found in about.items() if name in found}
        yield line.number, Row(values=values | {"id": name, "text": text}, clip=clip)


def find_files(source: str, split: str | None) -> list[str]:
  """The files of a data folder, `text` first; of several folders those of the split.

  Raises:
    ValueError: it is no such folder.
  """
  folder = os.path.dirname(source) if storage.is_file(source) else source.rstrip("/")
  if storage.is_file(storage.join(folder, _SOUND)):
    folders = [folder]
  else:
    below = storage.find_below(folder, f"*/{_SOUND}")
    folders = [os.path.dirname(path) for path in choose_folder(folder, below, split)]
  files = []
  for folder in folders:
    if not storage.is_file(storage.join(folder, _TEXT)):
      raise ValueError(f"{folder}: no file '{_TEXT}', expected it beside {_SOUND}; write one")
    files += [storage.join(folder, name) for name in (_TEXT, _SOUND)]
    files += filter(storage.is_file, (storage.join(folder, name) for name in _OPTIONAL))
  if not files:
    raise ValueError(
      f"{source}: no {_SOUND} in it or one level below, expected a data folder of Kaldi; check the "
      "path"
    )
  return files


def open_files(files: list[str], options: SourceOptions) -> list[RowShard]:
  """Divides the lines of `text` among shards, see `open_rows`."""
  texts = [path for path in files if os.path.basename(path) == _TEXT]
  beside = [path for path in files if path not in texts]
  return open_rows(texts, KaldiReader(), options, beside=beside)


def _split(line: Line) -> tuple[str, str] | RecordError:
  """Id and text of a line."""
  try:
    name, *text = line.text().split(maxsplit=1)
  except RecordError as error:
    return error
  return name, text[0].strip() if text else ""


def _look_up(folder: str, name: str, keys: list[str]) -> dict[str, str] | None:
  path = storage.join(folder, name)
  return find_values(path, keys) if storage.is_file(path) else None


def _clip_of(
  name: str, segments: Mapping[str, str] | None, sounds: Mapping[str, str], folder: str
) -> Clip:
  if segments is None:
    return Clip(path=_path_of(name, sounds, folder))
  if name not in segments:
    raise RecordError("no line in 'segments'; add one, or leave the utterance out of 'text'")
  recording, *fields = segments[name].split() or [""]
  path = _path_of(recording, sounds, folder)
  try:
    start, end = map(float, fields[:2])
    channel = int(fields[2]) if len(fields) > 2 else None
  except ValueError as error:
    raise RecordError(
      f"'segments' says {segments[name]!r:.80}, expected a recording, start and end in seconds"
    ) from error
  if end != -1 and not start < end:
    raise RecordError(f"'segments' says {start} to {end} s, expected an end behind the start")
  return Clip(
    path=path,
    offset=start,
    duration=None if end == -1 else end - start,
    channel=channel,
  )


def _path_of(recording: str, sounds: Mapping[str, str], folder: str) -> str:
  path = sounds.get(recording, "")
  if not path:
    raise RecordError(f"no line for '{recording}' in {_SOUND}; add one with its path")
  if path.endswith("|") or path.startswith("|") or path == "-":
    raise RecordError(
      f"{_SOUND} has a command for '{recording}', which is never run: {path!r:.80}; write its "
      "sound to a file, and name that"
    )
  if _ARCHIVE.fullmatch(path):
    raise RecordError(
      f"{_SOUND} has a place in an archive for '{recording}': {path!r:.80}; copy the sound to a "
      "file of its own, with Kaldi's wav-copy, and name that"
    )
  return from_working_folder(path, folder)
