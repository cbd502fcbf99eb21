"""Lines of JSON that hold a hypothesis, in our form and in those of other systems."""

import codecs
import json
import os
from typing import Any

from maxtext_ext.evaluate.hypothesis import FIELDS, Hypothesis
from maxtext_ext.text.languages import NO_LANGUAGE, is_name, language_name

# What each field may be in JSON.
_FIELD_TYPES: dict[str, tuple[type, ...]] = {
  "id": (str, int),
  "dataset": (str,),
  "language": (str,),
  "duration": (float, int),
  "reference": (str,),
  "hypothesis": (str,),
  "complete": (bool,),
}
# What they are called, here and by other systems: of several that a line has, the first counts.
_TEXTS = ("text", "sentence", "transcript", "transcription")
_FIELD_NAMES: dict[str, tuple[str, ...]] = {
  "id": ("id", "sample_id", "utterance_id", "utt_id", "segment_id", "uuid"),
  "dataset": ("dataset", "dataset_name"),
  "language": ("language", "lang", "locale"),
  "duration": ("duration",),
  "reference": ("reference", "ref", "ground_truth", "target", *_TEXTS),
  "hypothesis": ("hypothesis", "hyp", "pred_text", "prediction", "predicted_text", "pred", *_TEXTS),
  "complete": ("complete",),
}
REFERENCE_NAMES = _FIELD_NAMES["reference"]
AUDIO_NAMES = ("audio_filepath", "audio_path", "audio_file", "audio", "wav", "file")


def format_line(hypothesis: Hypothesis) -> str:
  """Formats a hypothesis as one line of JSON, without its end."""
  fields = {name: hypothesis.field(name) for name in _FIELD_NAMES}
  text = json.dumps(fields | dict(hypothesis.extra), ensure_ascii=False)
  # A lone surrogate, which extra fields may hold, has no UTF-8 form but one as JSON's escape.
  return text.encode("utf-8", "backslashreplace").decode()


def parse_line(line: bytes, place: str, nameless: str) -> tuple[Hypothesis, bool]:
  """Parses a hypothesis, and whether the line gives its id.

  Without a reference, or with null, none is known; "" says that nothing was said.

  Args:
    line: JSON in UTF-8.
    place: named in errors.
    nameless: the id of a line that gives none and names no sound file.

  Raises:
    ValueError: it is not a hypothesis.
  """
  try:
    value = json.loads(line.removeprefix(codecs.BOM_UTF8))
  except (ValueError, RecursionError) as error:  # syntax and UTF-8; nesting without end
    raise ValueError(
      f"{place}: not a line of JSON in UTF-8: {error}; copy the file again, or remove it and run"
      " the same decode again"
    ) from error
  if type(value) is not dict:
    raise ValueError(f"{place}: expected a JSON object, got {type(value).__name__}")
  names = _choose(value, place)
  fields = {field: value[name] for field, name in names.items()}
  named = "id" in fields
  identifier = str(fields.get("id", "")) if named else _name_by_sound(value) or nameless
  used = FIELDS.union(names.values())
  try:
    hypothesis = Hypothesis(
      **{"hypothesis": "", "reference": None}
      | fields
      | {
        "id": identifier,
        "language": _language(fields.get("language", "")),
        "duration": float(fields.get("duration", 0.0)),
        "extra": {name: value[name] for name in value if name not in used},
      }
    )
  except (ValueError, OverflowError) as error:
    raise ValueError(f"{place}: {error}") from error
  return hypothesis, named


def _choose(line: dict[str, Any], place: str) -> dict[str, str]:
  """Chooses the name in a line for each of our fields that it has; null counts as missing."""
  chosen: dict[str, str] = {}
  for field, names in _FIELD_NAMES.items():
    # The same text is not both reference and hypothesis.
    taken = chosen.get("reference")
    name = next((name for name in names if name in line and name != taken), None)
    if name is None and field == "hypothesis":
      raise ValueError(f"{place}: no {field}; expected one of {', '.join(names)}")
    if name is None or line[name] is None:
      continue
    if type(line[name]) not in _FIELD_TYPES[field]:  # isinstance would take true for a number
      expected = " or ".join(kind.__name__ for kind in _FIELD_TYPES[field])
      raise ValueError(f"{place}: {name} is {line[name]!r:.80}, expected {expected}")
    chosen[field] = name
  return chosen


def _name_by_sound(line: dict[str, Any]) -> str:
  """Returns the sound file's name with the segment's bounds; "" where there is none."""
  path = next((line[name] for name in AUDIO_NAMES if isinstance(line.get(name), str)), "")
  offset = line.get("offset")
  return os.path.basename(path) + (f"@{offset}" if path and offset else "")


def _language(value: str) -> str | None:
  name = language_name(value) if is_name(value) else value
  return None if name in ("", NO_LANGUAGE) else name
