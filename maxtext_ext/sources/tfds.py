"""TFRecord files of TensorFlow Datasets: features under their own names, integer samples.

Audio is an int64_list or float_list of samples, or the bytes of a sound file. features.json beside
the files has its rate and channels; without it, the rate is the feature `sample_rate`. Names are
found as in other formats, see `fields`; a record without an id gets its file and position as id.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from maxtext_ext.audio.limits import AudioError
from maxtext_ext.files import storage
from maxtext_ext.records import wire
from maxtext_ext.records.schema import (
  BYTES_LIST,
  FLOAT_LIST,
  INT64_LIST,
  Feature,
  Record,
  RecordError,
  read_features,
)
from maxtext_ext.sources.clip import clip_of
from maxtext_ext.sources.dataset_files import shared_folder
from maxtext_ext.sources.entry import Bad, Good
from maxtext_ext.sources.fields import USUAL_NAMES, choose_names, read_fields, read_id
from maxtext_ext.sources.options import EVERY_OPTION, SourceOptions
from maxtext_ext.sources.sharding import group_files
from maxtext_ext.sources.splits import find_own_files
from maxtext_ext.sources.tfrecord import FILE_PATTERNS, scan

OPTIONS = EVERY_OPTION - {"records_per_shard", "allow_urls"}
_SCHEMA = "features.json"
_MAX_SCHEMA = 1 << 20  # bytes
_RATES = ("sample_rate", "sampling_rate")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioFeature:
  """Audio feature, as features.json describes it.

  Attributes:
    name: of the feature.
    rate: of the samples, in Hz; None: it does not say.
    channels: that take turns in the list.
    encoding: "none" unless samples stand in it as bytes.
  """

  name: str
  rate: int | None
  channels: int
  encoding: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfdsShard:
  """Neighbouring TFRecord files, which become one output shard.

  Attributes:
    paths: the files.
    folder: what the paths of all files of the source begin with.
    schema: what is known of their audio.
    options: how they are read.
  """

  paths: tuple[str, ...]
  folder: str
  schema: tuple[AudioFeature, ...]
  options: SourceOptions

  def entries(self) -> Iterator[Good | Bad]:
    """Reads the files' records."""
    for number, path in enumerate(self.paths):
      for position, done, item in scan(path):
        place: dict[str, Any] = {
          "file": path,
          "position": position,
          "done": (number + done) / len(self.paths),
        }
        default_id = f"{path.removeprefix(self.folder)}:{position}"
        try:
          if isinstance(item, str):
            raise RecordError(item)
          yield Good(**place, record=self._read(item, default_id))
        except RecordError as error:
          yield Bad(**place, sample_id=error.sample_id, reason=str(error))

  def _read(self, data: bytes, default_id: str) -> Record:
    try:
      features = read_features(data)
      return self._record(features, data, default_id)
    except wire.WireError as error:
      reason = f"not a tf.train.Example of {len(data)} bytes: {error}"
      raise RecordError(reason, default_id) from error

  def _record(self, features: Mapping[str, Feature], data: bytes, default_id: str) -> Record:
    audio = self._audio_name(features, default_id)
    values = {name: _value(each, data) for name, each in features.items() if name != audio}
    texts = {name for name, value in values.items() if isinstance(value, bytes)}
    labels = texts | {name for name, value in values.items() if isinstance(value, int)}
    names = choose_names(texts, self.options)
    numbered = choose_names(labels, self.options)
    names |= {field: numbered[field] for field in ("id", "speaker") if field in numbered}
    if "text" not in names:
      wanted = self.options.text_key or " or ".join(USUAL_NAMES["text"])
      raise RecordError(f"no feature for the text ({wanted}), only {sorted(features)}", default_id)
    said = {name: _as_text(values[name], name, default_id) for name in names.values()}
    sample_id = read_id(said, names, default_id)
    fields = read_fields(said, names, sample_id, self.options)
    try:
      return fields.with_audio(self._samples(audio, features, data, values))
    except AudioError as error:
      raise RecordError(str(error), sample_id) from error

  def _audio_name(self, features: Mapping[str, Feature], default_id: str) -> str:
    known = {each.name for each in self.schema} & features.keys()
    if len(known) == 1 and not self.options.audio_key:
      return known.pop()
    name = choose_names(features.keys(), self.options).get("audio")
    if name is None:
      wanted = self.options.audio_key or " or ".join(USUAL_NAMES["audio"])
      raise RecordError(f"no feature for the audio ({wanted}), only {sorted(features)}", default_id)
    return name

  def _samples(
    self, name: str, features: Mapping[str, Feature], data: bytes, values: Mapping[str, Any]
  ) -> np.ndarray:
    kind, span = features[name]
    known = next((each for each in self.schema if each.name == name), None)
    if kind == BYTES_LIST:
      content = wire.read_strings(data, span)
      if len(content) != 1 or (known and known.encoding != "none"):
        raise AudioError("audio is bytes, but not of one sound file; write it as samples")
      return clip_of(content[0]).load("")
    read = wire.read_integer_array if kind == INT64_LIST else wire.read_floats
    samples = read(data, span)
    if known and known.channels > 1:
      if len(samples) % known.channels:
        raise AudioError(f"{len(samples)} values are not a multiple of {known.channels} channels")
      samples = samples.reshape(-1, known.channels)
    rate = known.rate if known else None
    if rate is None:
      rate = next((values[each] for each in _RATES if isinstance(values.get(each), int)), None)
    if rate is None:
      raise AudioError(
        f"no sampling rate: expected it in {_SCHEMA} or in a feature {' or '.join(_RATES)}"
      )
    return clip_of(samples, rate).load("")


def find_files(source: str, split: str | None) -> list[str]:
  """The TFRecord files of a split, and behind them the files that tell of their features."""
  files = find_own_files(source, FILE_PATTERNS, split)
  folders = dict.fromkeys(map(os.path.dirname, files))
  schemas = (storage.join(folder, _SCHEMA) for folder in folders)
  return files + [path for path in schemas if storage.is_file(path)]


def open_files(files: list[str], options: SourceOptions) -> list[TfdsShard]:
  """One shard for each file, or `options.shards` of several files.

  Raises:
    ValueError: fewer files than `options.shards`, or features.json is malformed.
  """
  schemas = {os.path.dirname(path): path for path in files if os.path.basename(path) == _SCHEMA}
  records = [path for path in files if path not in schemas.values()]
  known = {folder: read_schema(path) for folder, path in schemas.items()}
  folder = shared_folder(records)
  return [
    TfdsShard(
      paths=group,
      folder=folder,
      schema=known.get(os.path.dirname(group[0]), ()),
      options=options,
    )
    for group in group_files(records, options.shards)
  ]


def read_schema(path: str) -> tuple[AudioFeature, ...]:
  """Reads what features.json says of audio; nothing where it is of an older form.

  Raises:
    ValueError: it is not JSON.
  """
  if storage.size_of(path) > _MAX_SCHEMA:
    raise ValueError(f"{path}: over {_MAX_SCHEMA} bytes, expected the features of a data set")
  try:
    content = json.loads(storage.read_bytes(path))
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path}: not JSON ({error}); copy the file again") from error
  features = _get(_get(_get(content, "featuresDict"), "features"))
  found = []
  for name, feature in features.items():
    audio = _get(feature, "audio")
    if audio:
      dimensions = _get(audio, "shape").get("dimensions")
      sizes = [_integer(each) for each in dimensions] if isinstance(dimensions, list) else []
      found.append(
        AudioFeature(
          name=name,
          rate=_integer(audio.get("sampleRate")),
          channels=(sizes[1] or 1) if len(sizes) == 2 else 1,
          encoding=str(audio.get("encoding", "none")),
        )
      )
  return tuple(found)


def _get(value: Any, name: str | None = None) -> dict[str, Any]:
  found = value.get(name) if name and isinstance(value, dict) else value
  return found if isinstance(found, dict) else {}


def _integer(value: Any) -> int | None:
  """A positive number, also one that protobuf's JSON writes as text."""
  text = str(value)
  return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 1 << 31 else None


def _value(feature: Feature, data: bytes) -> bytes | int | None:
  """Returns the only value of a text or integer feature; None for all others."""
  kind, span = feature
  if kind == FLOAT_LIST:
    return None
  if span[1] - span[0] > _MAX_SCHEMA and kind == INT64_LIST:
    return None  # samples of something
  found = wire.read_strings(data, span) if kind == BYTES_LIST else wire.read_integers(data, span)
  return found[0] if len(found) == 1 else None


def _as_text(value: Any, name: str, sample_id: str) -> Any:
  try:
    return value.decode() if isinstance(value, bytes) else value
  except UnicodeDecodeError as error:
    reason = f"'{name}' is not UTF-8 (byte 0x{value[error.start]:02x} at {error.start})"
    raise RecordError(f"{reason}; write it as UTF-8", sample_id) from error
