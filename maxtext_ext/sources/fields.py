"""Fields of a record beside its audio, under the names that corpora give them."""

import dataclasses
import json
from collections.abc import Container, Mapping
from typing import Any

import numpy as np

from maxtext_ext.records.schema import Record, RecordError
from maxtext_ext.sources.options import SourceOptions
from maxtext_ext.text.languages import NO_LANGUAGE, language_name
from maxtext_ext.text.normalize.invisible import is_blank

# In order: of several that a record has, the first counts.
USUAL_NAMES = {
  "audio": (
    "audio",
    "audio_filepath",
    "audio_path",
    "audio_file",
    "speech",
    "wav",
    "mp3",
    "flac",
    "file_name",
    "audio_file_name",
    "wav_filename",
    "file",
    "path",
  ),
  "text": (
    "text",
    "sentence",
    "transcription",
    "transcript",
    "normalized_text",
    "raw_transcription",
    "raw_text",
  ),
  "id": ("id", "sample_id", "uuid", "utterance_id", "utt_id", "segment_id", "audio_id", "__key__"),
  "language": ("language", "lang", "locale", "source_lang"),
  "speaker": ("speaker", "speaker_id", "client_id"),
  "dataset": ("dataset", "dataset_name"),
  "prompt": ("prompt",),
}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_KINDS_OF_JSON = {
  list: "a list",
  str: "a string",
  int: "a number",
  float: "a number",
  bool: "true or false",
  type(None): "null",
}
_LANGUAGE_PREFIX, _TEXT_MARK = "language ", "<asr_text>"  # of the official fine-tuning form


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fields:
  """A record without its audio; the attributes are those of Record."""

  sample_id: str
  text: str
  dataset_name: str
  language: str | None
  prompt: str
  speaker: str | None

  def with_audio(self, audio: np.ndarray) -> Record:
    """The record, with [T] samples at 16 kHz."""
    return Record(audio=audio, **dataclasses.asdict(self))


def choose_names(available: Container[str], options: SourceOptions) -> dict[str, str]:
  """Finds the fields of USUAL_NAMES among the names that a source has.

  Args:
    available: the names, of columns or keys.
    options: its names go before the usual ones, which then do not count.

  Returns:
    The name of each field that is there.
  """
  asked = {"audio": options.audio_key, "text": options.text_key, "id": options.id_key}
  chosen = {}
  for field, usual in USUAL_NAMES.items():
    candidates = (asked[field],) if asked.get(field) else usual
    found = next((name for name in candidates if name in available), None)
    if found:
      chosen[field] = found
  return chosen


def parse_object(content: bytes) -> dict[str, Any]:
  """Parses a JSON object in UTF-8.

  Raises:
    RecordError: it is none, with `sample_id` where that can still be told.
  """
  content = content.removeprefix(BYTE_ORDER_MARK)
  try:
    fields = json.loads(content.decode())
  except UnicodeDecodeError as error:
    raise RecordError(
      f"JSON is not UTF-8 (byte 0x{content[error.start]:02x} at {error.start}); save it as UTF-8",
      _id_of_broken(content),
    ) from error
  except json.JSONDecodeError as error:
    raise RecordError(f"not JSON: {error.msg} at character {error.pos}; correct it") from error
  except RecursionError as error:
    raise RecordError("not JSON that can be read: nested too deeply; correct it") from error
  except ValueError as error:
    raise RecordError("not JSON that can be read: a number is too long; correct it") from error
  if not isinstance(fields, dict):
    kind = _KINDS_OF_JSON[type(fields)]
    raise RecordError(f"JSON is {kind}, expected an object with 'text'")
  return fields


def _id_of_broken(content: bytes) -> str:
  """Extracts the id of an object that is not UTF-8, for messages; empty if that fails."""
  try:
    fields = json.loads(content.decode(errors="replace"))
    names = choose_names(fields, SourceOptions())
    return read_id(fields, names, _string(fields, names, "audio"))
  except (ValueError, RecursionError, TypeError, AttributeError):
    return ""


def value_of(values: Mapping[str, Any], names: Mapping[str, str], field: str) -> Any:
  """The value of a field of USUAL_NAMES; None where it has no name, or no value."""
  return values.get(names[field]) if field in names else None


def read_id(values: Mapping[str, Any], names: Mapping[str, str], default: str) -> str:
  """The id of a record, as `read_fields` finds it."""
  return _label(values, names, "id") or default


def read_fields(
  values: Mapping[str, Any],
  names: Mapping[str, str],
  default_id: str,
  options: SourceOptions,
  *,
  text_required: bool = True,
) -> Fields:
  """Reads the fields of a record.

  Args:
    values: by name, as JSON or parquet have them; None counts as missing.
    names: the name of each field, see `choose_names`.
    default_id: for a record that has none.
    options: the language and data set of records that do not name theirs.
    text_required: False lets a record have no text, as clips to transcribe.

  Raises:
    RecordError: a value is of another type, no text, or two languages.
  """
  sample_id = read_id(values, names, default_id)
  try:
    text, named = split_language(_string(values, names, "text").removeprefix("\ufeff"))
    declared, named = _language(_string(values, names, "language")), _language(named)
    if declared and named and declared != named:
      raise RecordError(f"language is '{declared}', but the text says '{named}'; drop one")
    if options.text_key and "text" not in names:
      raise RecordError(f"no '{options.text_key}', which --text-key names; check the name")
    is_empty = options.allow_empty_text and value_of(values, names, "text") is not None
    if text_required and is_blank(text) and not is_empty:
      raise RecordError("text is missing or empty; give the record one or leave it out")
    return Fields(
      sample_id=sample_id,
      text=text,
      dataset_name=_string(values, names, "dataset") or options.dataset_name,
      language=declared or named or options.language,
      prompt=_string(values, names, "prompt"),
      speaker=_label(values, names, "speaker") or None,
    )
  except RecordError as error:
    raise RecordError(str(error), sample_id) from error


def _language(value: str | None) -> str | None:
  """The models' name of it; None where it says none."""
  if not value:
    return None
  try:
    name = language_name(value)
  except ValueError as error:
    raise RecordError(f"language: {error}") from error
  return None if name == NO_LANGUAGE else name


def split_language(text: str) -> tuple[str, str | None]:
  """Splits "language English<asr_text>hello" into ("hello", "English"); "None" means unknown.

  Text of any other form comes back as it is, with None.
  """
  head, mark, rest = text.partition(_TEXT_MARK)
  if not mark or not head.startswith(_LANGUAGE_PREFIX):
    return text, None
  language = head.removeprefix(_LANGUAGE_PREFIX).strip()
  return rest, None if language in ("", "None") else language


def _label(values: Mapping[str, Any], names: Mapping[str, str], field: str) -> str:
  """A string, or a whole number as one."""
  value = value_of(values, names, field)
  if isinstance(value, int) and not isinstance(value, bool):
    return str(value)
  return _string(values, names, field)


def _string(values: Mapping[str, Any], names: Mapping[str, str], field: str) -> str:
  value = value_of(values, names, field)
  if value is None:
    return ""
  if not isinstance(value, str):
    raise RecordError(f"'{names[field]}' is {value!r:.60}, expected a string")
  return value
