"""JSONL files of lines {"audio": path, "text": ...} and the audio files that they name.

Optional keys: "id" (else the audio path as written), "language", "dataset", "prompt". The text may
be in Qwen3-ASR's fine-tuning form, "language English<asr_text>what is said". Others are ignored.
"""

import dataclasses
import json
import os
from collections.abc import Iterator
from typing import Any

from maxtext_ext.audio.io import AudioError, load_audio
from maxtext_ext.records import storage
from maxtext_ext.records.schema import Record, RecordError
from maxtext_ext.records.sources.entry import Bad, Good
from maxtext_ext.records.sources.options import SourceOptions

FILE_PATTERN = "*.jsonl"
_LANGUAGE_PREFIX, _TEXT_MARK = "language ", "<asr_text>"  # of the official fine-tuning form
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclasses.dataclass(frozen=True, kw_only=True)
class JsonlShard:
  """Some consecutive lines of a JSONL file, which become one output shard.

  Attributes:
    path: the file.
    offset: byte at which the first of the lines starts.
    line: its number, from 1.
    count: lines that are not blank.
  """

  path: str
  offset: int
  line: int
  count: int

  def entries(self) -> Iterator[Good | Bad]:
    """Reads the lines and decodes the audio that they name."""
    read = 0
    with storage.open_read(self.path) as file:
      file.seek(self.offset)
      for line, content in enumerate(file, self.line):
        if read == self.count:
          return
        if not content.strip():
          continue
        read += 1
        place = {"file": self.path, "position": line, "done": read / self.count}
        try:
          yield Good(**place, record=read_line(content, os.path.dirname(self.path)))
        except RecordError as error:
          yield Bad(**place, sample_id=error.sample_id, reason=str(error))


def open_shards(source: str, options: SourceOptions) -> list[JsonlShard]:
  """Cuts the files of `source` (a file, folder or glob) into shards of so many lines.

  Raises:
    ValueError: no files, or no line in them.
  """
  shards = []
  for path in storage.find_files(source, FILE_PATTERN):
    count = 0
    with storage.open_read(path) as file:
      start = (0, 1)  # byte and number of the shard's first line
      offset = 0
      for line, content in enumerate(file, 1):
        if count == options.records_per_shard and content.strip():
          shards.append(JsonlShard(path=path, offset=start[0], line=start[1], count=count))
          start, count = (offset, line), 0
        count += bool(content.strip())
        offset += len(content)
    if count:
      shards.append(JsonlShard(path=path, offset=start[0], line=start[1], count=count))
  if not shards:
    raise ValueError(f'{source}: no lines, expected some like {{"audio": path, "text": "..."}}')
  return shards


def read_line(content: bytes, folder: str) -> Record:
  """Reads one line and its audio.

  Args:
    content: the line, UTF-8.
    folder: what a relative audio path starts from.

  Raises:
    RecordError: anything is wrong with either.
  """
  fields = _parse(content)
  audio_path = _text_field(fields, "audio", "")
  sample_id = _read_id(fields) or audio_path
  try:
    if not audio_path:
      raise RecordError("no 'audio': expected the path of an audio file")
    text, language = split_language(_text_field(fields, "text", ""))
    declared = _text_field(fields, "language", "") or None
    if declared and language and declared != language:
      raise RecordError(f"language is '{declared}', but the text says '{language}'; drop one")
    if not text.strip():
      raise RecordError("text is missing or empty; give the line one or leave it out")
    dataset = _text_field(fields, "dataset", "")
    prompt = _text_field(fields, "prompt", "")
    audio = load_audio(os.path.join(folder, audio_path))
  except (RecordError, AudioError) as error:
    raise RecordError(str(error), sample_id) from error
  return Record(
    sample_id=sample_id,
    audio=audio,
    text=text,
    dataset_name=dataset,
    language=declared or language,
    prompt=prompt,
  )


def split_language(text: str) -> tuple[str, str | None]:
  """Splits "language English<asr_text>hello" into ("hello", "English"); "None" means unknown.

  Text of any other form comes back as it is, with None.
  """
  head, mark, rest = text.partition(_TEXT_MARK)
  if not mark or not head.startswith(_LANGUAGE_PREFIX):
    return text, None
  language = head.removeprefix(_LANGUAGE_PREFIX).strip()
  return rest, None if language in ("", "None") else language


def _parse(content: bytes) -> dict[str, Any]:
  content = content.removeprefix(_BYTE_ORDER_MARK)
  try:
    fields = json.loads(content.decode())
  except UnicodeDecodeError as error:
    raise RecordError(
      f"line is not UTF-8 (byte 0x{content[error.start]:02x} at {error.start}); save it as UTF-8",
      _id_of_broken(content),
    ) from error
  except (ValueError, RecursionError) as error:
    raise RecordError(f"line is not JSON: {error}") from error
  if not isinstance(fields, dict):
    raise RecordError(f"line is a JSON {type(fields).__name__}, expected an object with 'audio'")
  return fields


def _id_of_broken(content: bytes) -> str:
  """The id of a line that is not UTF-8, so that the user can find it; empty if that fails too."""
  try:
    fields = json.loads(content.decode(errors="replace"))
    return _read_id(fields) or _text_field(fields, "audio", "")
  except (ValueError, RecursionError, AttributeError):
    return ""


def _read_id(fields: dict[str, Any]) -> str:
  value = fields.get("id")
  if isinstance(value, int) and not isinstance(value, bool):
    return str(value)
  return _text_field(fields, "id", "")


def _text_field(fields: dict[str, Any], key: str, default: str) -> str:
  value = fields.get(key)
  if value is None:
    return default
  if not isinstance(value, str):
    raise RecordError(f"'{key}' is {value!r:.60}, expected a string")
  return value
