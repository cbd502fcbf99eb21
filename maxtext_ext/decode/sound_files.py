"""Clips of sound files, local or at URLs: those of a folder, or that a JSONL manifest names."""

import os
from collections.abc import Iterator

import numpy as np

from maxtext_ext.audio.io import load_audio, load_blocks
from maxtext_ext.audio.sounds import SUFFIXES
from maxtext_ext.decode.clips import Recordings
from maxtext_ext.files import storage
from maxtext_ext.records.schema import Record, RecordError
from maxtext_ext.sources import jsonl
from maxtext_ext.sources.fields import Fields, choose_names, value_of
from maxtext_ext.sources.lines import read_lines
from maxtext_ext.sources.options import SourceOptions
from maxtext_ext.sources.rows import Row, fields_of, parse_row, read_row

_SOUNDS = (*SUFFIXES, ".m4a", ".aac", ".mp4", ".webm", ".aiff", ".aif", ".au")
_OPTIONS = SourceOptions()


def open_files(source: str) -> Recordings:
  """Opens the clips of a JSONL file, or of a folder or a file of sound.

  Raises:
    ValueError: nothing is there, or no clip.
  """
  if storage.is_file(source):
    return SoundFiles(*os.path.split(source)) if _is_sound(source) else ManifestClips(source)
  if not storage.exists(source):
    raise ValueError(
      f"decode_input={source}: no such file or folder; expected a JSONL file, or a folder of sound"
      " files"
    )
  names = sorted(filter(_is_sound, storage.walk(source)))
  if not names:
    raise ValueError(
      f"decode_input={source}: no sound files in this folder ({', '.join(_SOUNDS)}); for a"
      " manifest name the JSONL file itself"
    )
  return SoundFiles(source, *names)


def _is_sound(path: str) -> bool:
  # Some systems put hidden files beside others, with the same endings.
  return path.lower().endswith(_SOUNDS) and not os.path.basename(path).startswith(".")


class SoundFiles(Recordings):
  """Sound files; a clip's id is its path from the folder on.

  Args:
    folder: of them all.
    names: their paths from there.
  """

  def __init__(self, folder: str, *names: str) -> None:
    self.where = folder or names[0]
    self.ids = names
    self._folder = folder

  def record(self, place: int) -> Record:
    """See Clips."""
    name = self.ids[place]
    return Record(sample_id=name, audio=load_audio(storage.join(self._folder, name)), text="")

  def stream(self, place: int) -> tuple[Fields, Iterator[np.ndarray]]:
    """See Recordings."""
    return self.fields(place), load_blocks(storage.join(self._folder, self.ids[place]))

  def has_reference(self, place: int) -> bool:
    """See Clips."""
    del place
    return False


class ManifestClips(Recordings):
  """Clips that the lines of a JSONL file name, as `sources.jsonl` reads them; texts may be missing.

  The lines are kept in memory: a manifest of a million clips takes a few hundred megabytes.

  Raises:
    ValueError: no lines, or two clips of one id in one data set.
  """

  def __init__(self, path: str) -> None:
    jsonl.open_files([path], _OPTIONS)
    self.where = path
    self._folder, self._name = os.path.split(path)
    self._lines = list(read_lines(path))
    self.ids = []
    places: dict[tuple[str, str], int] = {}
    for place, line in enumerate(self._lines):
      fields = self.fields(place)
      first = places.setdefault((fields.dataset_name, fields.sample_id), line.number)
      if first != line.number:
        raise ValueError(
          f"{path}:{line.number}: id {fields.sample_id!r} occurred before, at line {first}; remove"
          " one, or give each line an id"
        )
      self.ids.append(fields.sample_id)

  def record(self, place: int) -> Record:
    """See Clips."""
    return read_row(
      self._row(place),
      self._folder,
      _OPTIONS,
      default_id=self._name_of_line(place),
      text_required=False,
    )

  def stream(self, place: int) -> tuple[Fields, Iterator[np.ndarray]]:
    """See Recordings."""
    fields, clip = parse_row(
      self._row(place),
      _OPTIONS,
      default_id=self._name_of_line(place),
      text_required=False,
    )
    return fields, clip.blocks(self._folder)

  def fields(self, place: int) -> Fields:
    """See Clips."""
    name = self._name_of_line(place)
    try:
      return fields_of(self._row(place), _OPTIONS, name)
    except RecordError as error:
      return Fields(
        sample_id=error.sample_id or name,
        text="",
        dataset_name="",
        language=None,
        prompt="",
        speaker=None,
      )

  def has_reference(self, place: int) -> bool:
    """See Clips."""
    try:
      values = self._row(place).values
    except RecordError:
      return False
    return value_of(values, choose_names(values, _OPTIONS), "text") is not None

  def _row(self, place: int) -> Row:
    return Row(values=jsonl.parse_line(self._lines[place]))

  def _name_of_line(self, place: int) -> str:
    return f"{self._name}:{self._lines[place].number}"
