"""Lhotse manifests: cuts, or recordings and supervisions, as JSON lines, compressed or not.

Each cut is a record; the texts of its supervisions are joined in order of start time. Without cuts
each supervision is a record, and its recording comes from the file with the matching name:
`x_supervisions_train.jsonl.gz` and `x_recordings_train.jsonl.gz`. Commands are never run.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from maxtext_ext.files import storage
from maxtext_ext.files.compressed import SUFFIXES
from maxtext_ext.records.schema import RecordError
from maxtext_ext.sources.clip import Clip
from maxtext_ext.sources.jsonl import parse_line
from maxtext_ext.sources.lines import LineRange, read_lines
from maxtext_ext.sources.options import EVERY_OPTION, SourceOptions
from maxtext_ext.sources.rows import Row, RowShard, batched, from_working_folder, open_rows
from maxtext_ext.sources.splits import find_own_files

OPTIONS = EVERY_OPTION - {"audio_key", "text_key", "id_key"}
_SUPERVISIONS, _RECORDINGS = "supervisions", "recordings"
_SLACK = 0.001  # seconds; starts and durations are rounded
# Changes of a recording that leave times and the content as they are.
_HARMLESS = ("Resample",)
_ENDINGS = [f".jsonl{suffix}" for suffix in ("", *SUFFIXES)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LhotseReader:
  """Reads cuts and supervisions."""

  def rows(self, part: LineRange) -> Iterator[tuple[int, Row | RecordError]]:
    """See RowReader."""
    folder = os.path.dirname(part.path)
    for lines in batched(part.read()):
      items: list[dict[str, Any] | RecordError] = []
      for line in lines:
        try:
          items.append(parse_line(line))
        except RecordError as error:
          items.append(error)
      recordings = _find_recordings(part.path, items)
      for line, item in zip(lines, items, strict=True):
        if isinstance(item, RecordError):
          yield line.number, item
          continue
        try:
          yield line.number, row_of(item, folder, recordings)
        except RecordError as error:
          yield line.number, RecordError(str(error), str(item.get("id", "")))


def find_files(source: str, split: str | None) -> list[str]:
  """The manifests of cuts; where there are none, those of supervisions and their recordings.

  Raises:
    ValueError: there are none, or no recordings to supervisions.
  """
  files: list[str] = []
  for name in ("cuts", _SUPERVISIONS):
    patterns = [f"*{name}*{ending}" for ending in _ENDINGS]
    if not storage.exists(source) or storage.is_file(source):
      files = storage.find_files(source, *patterns)
    elif any(storage.find_below(source, pattern) for pattern in patterns):
      files = find_own_files(source, patterns, split)
    if files:
      break
  if not files:
    raise ValueError(
      f"{source}: no manifests of Lhotse, expected *cuts*.jsonl.gz, or *{_SUPERVISIONS}*.jsonl.gz "
      f"and *{_RECORDINGS}*.jsonl.gz; check the path"
    )
  partners = []
  for path in files:
    if _SUPERVISIONS in os.path.basename(path):
      partner = _partner_of(path)
      if not storage.is_file(partner):
        raise ValueError(f"{path}: no {os.path.basename(partner)} beside it, which it refers to")
      partners.append(partner)
  return files + partners


def open_files(files: list[str], options: SourceOptions) -> list[RowShard]:
  """Divides the lines of manifests among shards, see `open_rows`."""
  partners = {_partner_of(path) for path in files if _SUPERVISIONS in os.path.basename(path)}
  rows = [path for path in files if path not in partners]
  return open_rows(rows, LhotseReader(), options, beside=sorted(partners.intersection(files)))


def row_of(
  item: Mapping[str, Any],
  folder: str,
  recordings: Mapping[str, Mapping[str, Any]],
  *,
  sound: Clip | None = None,
) -> Row:
  """A row of a cut or of a supervision.

  Args:
    item: the cut or the supervision, as its to_dict has it.
    folder: of the manifest.
    recordings: of supervisions, by id.
    sound: of the cut, where its recording does not say where it is.

  Raises:
    RecordError: it is of a kind that cannot be read.
  """
  if "recording" not in item and isinstance(item.get("recording_id"), str):
    recording = recordings.get(item["recording_id"])
    if recording is None:
      raise RecordError(f"recording '{item['recording_id']}' is not among the recordings; add it")
    return Row(values=_values_of(item, [item]), clip=_clip_of(item, recording, folder))
  kind = item.get("type", "MonoCut")
  if kind not in ("MonoCut", "MultiCut", "Cut") or "tracks" in item:
    raise RecordError(
      f"it is a {kind!r:.40}, expected a cut of one recording; save its audio first"
    )
  supervisions = _maps(item.get("supervisions", []), "supervisions")
  if sound is None:
    if not isinstance(item.get("recording"), dict):
      raise RecordError("cut has no recording, perhaps only features; sound is needed")
    sound = _clip_of(item, item["recording"], folder)
  return Row(values=_values_of(item, supervisions), clip=sound)


def _values_of(
  item: Mapping[str, Any], supervisions: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
  ordered = sorted(supervisions, key=lambda each: _number(each, "start", 0.0))
  texts = [each.get("text") for each in ordered]
  if any(not isinstance(text, str | None) for text in texts):
    raise RecordError(f"'text' is {texts!r:.60}, expected strings")
  return {
    "id": item.get("id"),
    "text": " ".join(text.strip() for text in texts if text),
    "language": _only(each.get("language") for each in ordered),
    "speaker": _only(each.get("speaker") for each in ordered),
  }


def _only(values: Iterable[Any]) -> Any:
  """The value that all have; None where they differ."""
  found = list(dict.fromkeys(value for value in values if value is not None))
  return found[0] if len(found) == 1 else None


def _clip_of(item: Mapping[str, Any], recording: Mapping[str, Any], folder: str) -> Clip:
  changes = [each.get("name") for each in _maps(recording.get("transforms") or [], "transforms")]
  if others := [name for name in changes if name not in _HARMLESS]:
    raise RecordError(
      f"recording is changed when it is read ({others!r:.80}); save its audio first"
    )
  sources = _maps(recording.get("sources") or [], "sources")
  wanted = _channels(item.get("channel", 0))
  available = [_channels(each.get("channels", 0)) for each in sources]
  chosen = [index for index, channels in enumerate(available) if set(wanted) & set(channels)]
  if not chosen:
    raise RecordError(f"recording has no channel {wanted}, only {available!r:.80}")
  source, channels = sources[chosen[0]], available[chosen[0]]
  kind, path = source.get("type"), source.get("source")
  if kind not in ("file", "url") or not isinstance(path, str) or not path:
    hint = {
      "command": "a command is never run: write its sound to a file",
      "shar": "read it with --from shar",
    }.get(str(kind), "save its audio to a file")
    raise RecordError(f"source of the sound is a {kind!r:.40}, expected a file; {hint}")
  start, duration = _number(item, "start", 0.0), _number(item, "duration", None)
  length = _number(recording, "duration", None)
  is_whole = not start and (None in (duration, length) or abs(duration - length) <= _SLACK)
  is_one = len(wanted) == 1 and len(channels) > 1
  return Clip(
    path=from_working_folder(path, folder),
    offset=None if is_whole else start,
    duration=None if is_whole else duration,
    channel=channels.index(*wanted) if is_one else None,
  )


def _channels(value: Any) -> list[int]:
  values = value if isinstance(value, list) else [value]
  if not all(isinstance(each, int) for each in values):
    raise RecordError(f"channel is {value!r:.60}, expected a number or several")
  return values


def _number(item: Mapping[str, Any], name: str, default: float | None) -> Any:
  value = item.get(name, default)
  if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
    raise RecordError(f"'{name}' is {value!r:.60}, expected a number of seconds")
  return value


def _maps(values: Any, name: str) -> list[Mapping[str, Any]]:
  if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
    raise RecordError(f"'{name}' is {values!r:.60}, expected a list of objects")
  return values


def _find_recordings(
  path: str, items: Iterable[Mapping[str, Any] | RecordError]
) -> dict[str, Mapping[str, Any]]:
  """The recordings that supervisions refer to, by id."""
  wanted = {
    item["recording_id"]
    for item in items
    if isinstance(item, dict)
    and "recording" not in item
    and isinstance(item.get("recording_id"), str)
  }
  result: dict[str, Mapping[str, Any]] = {}
  if not wanted or _SUPERVISIONS not in os.path.basename(path):
    return result
  for line in read_lines(_partner_of(path)):
    try:
      recording = parse_line(line)
    except RecordError:
      continue
    name = recording.get("id")
    if isinstance(name, str) and name in wanted:
      result.setdefault(name, recording)
  return result


def _partner_of(path: str) -> str:
  folder, name = os.path.split(path)
  return storage.join(folder, name.replace(_SUPERVISIONS, _RECORDINGS))
