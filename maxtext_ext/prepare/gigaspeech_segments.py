"""Segments of GigaSpeech's original release: GigaSpeech.json as a manifest of one line a segment.

    {"dataset": "GigaSpeech", ..., "audios": [{"path": "audio/podcast/P0000/POD0000000001.opus",
      "aid": ..., "segments": [{"sid": "POD0000000001_S0000008", "speaker": "N/A",
      "begin_time": 159.0, "end_time": 161.1, "text_tn": "DOUGLAS MCGRAY IS ...",
      "subsets": ["{XL}", "{L}"]}, ...]}, ...]}

The file has several GB and is parsed one recording at a time. Source: the README of
SpeechColab/GigaSpeech, "Metadata walkthrough".
"""

import codecs
import json
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from maxtext_ext.files import storage
from maxtext_ext.files.connection import is_url

_AUDIOS = re.compile(r'"audios"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")
_BLOCK = 1 << 20  # characters
_MAX_RECORDING = 64 << 20  # characters of one recording with its segments
_MAX_HEAD = 1 << 20  # characters before the first


def write_manifest(path: str, manifest: str, tag: str) -> None:
  """Writes the segments of a subset as a JSONL manifest that `--from jsonl` reads.

  A segment without one of its fields gets a line without it, which the conversion quarantines.

  Args:
    path: GigaSpeech.json; the paths of its recordings are relative to its folder.
    manifest: file to write.
    tag: XS, S, M, L, XL, DEV or TEST.

  Raises:
    ValueError: the file is no GigaSpeech.json, is cut, or has no such segments.
  """
  folder = os.path.dirname(path) or "."
  if not is_url(folder):
    folder = os.path.abspath(folder)
  wanted = f"{{{tag}}}"
  count = 0
  with storage.open_read(path) as file, storage.atomic_open(manifest) as out:
    for recording in read_recordings(file, path):
      for segment in _segments_of(recording, path):
        if wanted in (segment.get("subsets") or ()):
          out.write(json.dumps(_line(recording, segment, folder), ensure_ascii=False) + "\n")
          count += 1
    if not count:
      raise ValueError(f"{path}: no segment is in the subset {wanted}; download another version")


def read_recordings(file: BinaryIO, path: str) -> Iterator[Any]:
  """Yields each entry of "audios"; memory holds one of them.

  Args:
    file: GigaSpeech.json.
    path: of it, for messages.

  Raises:
    ValueError: it is no such file, or is cut.
  """
  text = _Text(file, path)
  text.begin()
  decoder = json.JSONDecoder()
  while text.rest() != "]":
    try:
      recording, text.position = decoder.raw_decode(text.content, text.position)
    except (ValueError, RecursionError) as error:  # incomplete so far, or for good
      text.extend(str(error))
      continue
    yield recording


class _Text:
  """Window of a file's text: `position` is where the next recording, or the end, is looked for."""

  def __init__(self, file: BinaryIO, path: str) -> None:
    self._file = file
    self._path = path
    self._decode = codecs.getincrementaldecoder("utf-8")().decode
    self.content = ""
    self.position = 0

  def begin(self) -> None:
    """Goes to the first recording."""
    while not (match := _AUDIOS.search(self.content)):
      if len(self.content) > _MAX_HEAD or not self._read(_BLOCK):
        raise ValueError(
          f"{self._path}: no list 'audios', expected GigaSpeech.json; check the path"
        )
    self.position = match.end()

  def rest(self) -> str:
    """Skips what is between recordings; returns the next character."""
    while True:
      match = _BETWEEN.match(self.content, self.position)
      assert match
      if match.end() < len(self.content):
        self.position = match.end()
        return self.content[self.position]
      self.extend("the list has no end")

  def extend(self, problem: str) -> None:
    """Reads as much again as there is of the recording."""
    self.content, self.position = self.content[self.position :], 0
    too_long = len(self.content) > _MAX_RECORDING
    if too_long or not self._read(max(_BLOCK, len(self.content))):
      raise ValueError(f"{self._path}: cut or damaged ({problem}); download it again")

  def _read(self, size: int) -> bool:
    data = self._file.read(size)
    try:
      self.content += self._decode(data, not data)
    except UnicodeDecodeError as error:
      raise ValueError(f"{self._path}: not UTF-8 ({error.reason}); download it again") from error
    return bool(data)


def _segments_of(recording: Any, path: str) -> list[dict[str, Any]]:
  segments = recording.get("segments", []) if isinstance(recording, dict) else None
  if not isinstance(segments, list) or not all(isinstance(each, dict) for each in segments):
    raise ValueError(f"{path}: 'audios' has {recording!r:.60}, expected a recording and 'segments'")
  return segments


def _line(recording: dict[str, Any], segment: dict[str, Any], folder: str) -> dict[str, Any]:
  begin, end = segment.get("begin_time"), segment.get("end_time")
  path = recording.get("path")
  line: dict[str, Any] = {
    "id": segment.get("sid"),
    "text": segment.get("text_tn"),
    "speaker": segment.get("speaker"),
  }
  if isinstance(path, str):
    line["audio"] = storage.join(folder, path)
  if isinstance(begin, int | float) and isinstance(end, int | float):
    line |= {"offset": begin, "duration": round(end - begin, 3)}
  return line
