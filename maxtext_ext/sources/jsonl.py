"""JSONL manifests: lines {"audio": path, "text": ...} that name sound files.

Optional keys: "id" (else the audio path as written), "language", "dataset", "prompt", "speaker";
"offset" and, unless it is the rest, "duration" take a part of the sound file, in seconds. All go by
their other usual names too, see `fields`: manifests of NeMo are read as they are. The audio may
also be what `to_json` of Hugging Face's data sets writes, {"path", "bytes"} or {"array",
"sampling_rate"}. The text may be in Qwen3-ASR's fine-tuning form, "language English<asr_text>what
is said". Other keys are ignored.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from maxtext_ext.files import storage
from maxtext_ext.files.compressed import SUFFIXES
from maxtext_ext.records.schema import RecordError
from maxtext_ext.sources.fields import BYTE_ORDER_MARK, parse_object
from maxtext_ext.sources.lines import Line, LineRange, read_lines
from maxtext_ext.sources.options import EVERY_OPTION, SourceOptions
from maxtext_ext.sources.rows import Row, RowShard, open_rows
from maxtext_ext.sources.splits import find_own_files

OPTIONS = EVERY_OPTION
_FILES, _OTHERWISE = (
  tuple(f"*.{kind}{suffix}" for kind in kinds for suffix in ("", *SUFFIXES))
  for kinds in (("jsonl",), ("ndjson", "json"))
)
_DOCUMENT = re.compile(rb"\[|\[\s*\{.*|\{")  # as a list or indented JSON begins


@dataclasses.dataclass(frozen=True, kw_only=True)
class JsonlReader:
  """Reads an object of each line."""

  def rows(self, part: LineRange) -> Iterator[tuple[int, Row | RecordError]]:
    """See RowReader."""
    for line in part.read():
      try:
        yield line.number, Row(values=parse_line(line))
      except RecordError as error:
        yield line.number, error


def find_files(source: str, split: str | None) -> list[str]:
  """The manifests of a source; of a folder *.jsonl, or else what other names such files have."""
  is_there = any(storage.find_below(source, pattern) for pattern in _FILES)
  others = any(storage.find_below(source, pattern) for pattern in _OTHERWISE)
  return find_own_files(source, _OTHERWISE if others and not is_there else _FILES, split)


def open_files(files: list[str], options: SourceOptions) -> list[RowShard]:
  """Divides the lines of files among shards, see `open_rows`.

  Raises:
    ValueError: as there, or a file is JSON, but not of lines.
  """
  for path in files:
    first = next(read_lines(path), None)
    start = first.content.removeprefix(BYTE_ORDER_MARK).strip() if first else b""
    if _DOCUMENT.fullmatch(start):
      items = ".[]" if start.startswith(b"[") else "."
      raise ValueError(
        f"{path}: a single JSON document, expected an object on each line (JSONL); convert it with "
        f"`jq -c '{items}' FILE > FILE.jsonl`"
      )
  return open_rows(files, JsonlReader(), options)


def parse_line(line: Line) -> dict[str, Any]:
  """Parses an object.

  Raises:
    RecordError: it is none, or cannot be read at all.
  """
  if line.problem:
    raise RecordError(line.problem)
  return parse_object(line.content)
