"""JSONL files of lines {"audio": path, "text": ...} and the sound files that they name.

Optional keys: "id" (else the audio path as written), "language", "dataset", "prompt", "speaker";
"offset" and, unless it is the rest, "duration" take a part of the sound file, in seconds. All go by
their other usual names too, see `fields`: manifests of NeMo are read as they are. The audio may
also be what `to_json` of Hugging Face's data sets writes, {"path", "bytes"} or {"array",
"sampling_rate"}. The text may be in Qwen3-ASR's fine-tuning form, "language English<asr_text>what
is said". Other keys are ignored.
"""

import dataclasses
from collections.abc import Iterator

from maxtext_ext.files.compressed import SUFFIXES
from maxtext_ext.records.schema import RecordError
from maxtext_ext.records.sources.fields import parse_object
from maxtext_ext.records.sources.lines import Line, LineRange
from maxtext_ext.records.sources.options import EVERY_OPTION, SourceOptions
from maxtext_ext.records.sources.rows import Row, RowShard, open_rows

OPTIONS = EVERY_OPTION
FILE_PATTERNS = ("*.jsonl", *(f"*.jsonl{suffix}" for suffix in SUFFIXES))


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


def open_files(files: list[str], options: SourceOptions) -> list[RowShard]:
  """Divides the lines of files among shards, see `open_rows`."""
  return open_rows(files, JsonlReader(), options)


def parse_line(line: Line) -> dict:
  """Parses an object.

  Raises:
    RecordError: it is none, or cannot be read at all.
  """
  if line.problem:
    raise RecordError(line.problem)
  return parse_object(line.content)
