"""Record schema: an utterance with its text, as the bytes of a tf.train.Example.

Features: `audio` float_list, `audio_len` int64, `sample_rate` int64, `duration` float (seconds),
`text`, `dataset_name`, `sample_id` bytes (UTF-8). Ours, all optional: `language`, `prompt`,
`speaker` bytes, and one of `audio_pcm16` (little-endian 16-bit samples) and `audio_flac` (a 16-bit
mono FLAC file at 16 kHz), each one bytes value, which stands in for `audio`.
"""

import dataclasses
from typing import Literal

import numpy as np

from maxtext_ext.audio.flac import decode_flac, encode_flac
from maxtext_ext.audio.limits import MAX_PEAK, PCM16_SCALE, SAMPLE_RATE, AudioError
from maxtext_ext.records import wire

AudioFormat = Literal["float32", "pcm16", "flac"]


BYTES_LIST, FLOAT_LIST, INT64_LIST = 1, 2, 3  # field numbers of tf.train.Feature
_KIND_NAMES = {BYTES_LIST: "bytes_list", FLOAT_LIST: "float_list", INT64_LIST: "int64_list"}


class RecordError(ValueError):
  """A record cannot be used; the text says why, `sample_id` whose it is where that is known."""

  def __init__(self, reason: str, sample_id: str = "") -> None:
    super().__init__(reason)
    self.sample_id = sample_id


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Record:
  """One utterance.

  Attributes:
    sample_id: unique over a conversion.
    audio: [T] mono at 16 kHz, float32 in [-1, 1], or int16.
    text: what is said.
    dataset_name: the corpus that it comes from.
    language: Qwen3-ASR's name of it ("English", "Arabic", "Hebrew"), None if unknown.
    prompt: context for the recogniser (names, topic), mostly empty.
    speaker: the corpus's id of the speaker, None if unknown.
  """

  sample_id: str
  audio: np.ndarray
  text: str
  dataset_name: str = ""
  language: str | None = None
  prompt: str = ""
  speaker: str | None = None

  @property
  def seconds(self) -> float:
    """Length of the audio in seconds."""
    return len(self.audio) / SAMPLE_RATE

  def as_float32(self) -> np.ndarray:
    """The audio as float32 in [-1, 1], [T]."""
    if self.audio.dtype == np.int16:
      return self.audio.astype(np.float32) / PCM16_SCALE
    return self.audio


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StoredRecord:
  """A record just as it is stored: its audio may be at any rate and a view of the bytes."""

  record: Record
  sample_rate: int  # Hz


def decode_example(data: bytes, *, copy: bool = True) -> Record:
  """Reads a record that `encode_example`, `convert` or the project's TensorFlow jobs wrote.

  Features may stand in any order, lists be packed or not, unknown features are ignored.

  Args:
    data: serialized tf.train.Example.
    copy: whether the audio is an aligned copy; otherwise it may be a read-only view of `data`,
      which need not be aligned.

  Returns:
    The record; its audio is float32 or int16, as stored.

  Raises:
    RecordError: not an Example, a feature missing or of another type, text not UTF-8 or empty,
      audio not at 16 kHz, not `audio_len` long or no FLAC file.
  """
  stored = parse_example(data)
  if stored.sample_rate != SAMPLE_RATE:
    raise RecordError(
      f"sample_rate is {stored.sample_rate} Hz, expected {SAMPLE_RATE}; "
      "`maxtext-ext data convert` resamples",
      stored.record.sample_id,
    )
  record = stored.record
  if not copy or record.audio.flags.writeable:  # writeable: unpacked, no view of the bytes
    return record
  return dataclasses.replace(record, audio=record.audio.copy())


def parse_example(data: bytes) -> StoredRecord:
  """Parses like `decode_example`, for any sample rate, without copying uncompressed audio."""
  try:
    features = read_features(data)
    sample_id = _read_text(features, "sample_id", data)
    if not sample_id:
      raise RecordError("feature 'sample_id' is missing or empty; every record needs its own id")
    return _read_record(features, data, sample_id)
  except wire.WireError as error:
    raise RecordError(f"not a tf.train.Example of {len(data)} bytes: {error}") from error


def encode_example(record: Record, audio: AudioFormat = "float32") -> bytes:
  """Serializes a record as tf.train.Example.

  Args:
    record: its audio may be float32 or int16, whatever the format asked for.
    audio: "float32" is the schema that other readers know; "pcm16" halves the size, exactly for
      what was recorded with 16 bits, rounded and clipped at full scale otherwise; "flac" takes
      half of that again for the same samples, but time to unpack.

  Raises:
    RecordError: audio of another shape or type, out of scale for 16 bits or too long for "flac",
      no id or text, or text that has no UTF-8 form.
  """
  if record.audio.ndim != 1 or record.audio.dtype not in (np.float32, np.int16):
    raise RecordError(
      f"audio is {record.audio.dtype}{list(record.audio.shape)}, expected float32 or int16 [T]",
      record.sample_id,
    )
  if not record.sample_id or not record.text.strip():
    name = "text" if record.sample_id else "sample_id"
    raise RecordError(f"{name} is empty; give every record one", record.sample_id)
  if audio == "pcm16":
    stored = _entry("audio_pcm16", BYTES_LIST, wire.write_field(1, pcm16_samples(record).tobytes()))
  elif audio == "flac":
    stored = _entry("audio_flac", BYTES_LIST, wire.write_field(1, _flac(record)))
  else:
    samples = record.as_float32().astype("<f4", copy=False).tobytes()
    stored = _entry("audio", FLOAT_LIST, wire.write_field(1, samples))
  entries = [
    stored,
    _integer_entry("audio_len", len(record.audio)),
    _integer_entry("sample_rate", SAMPLE_RATE),
    _entry("duration", FLOAT_LIST, wire.write_field(1, np.float32(record.seconds).tobytes())),
    _text_entry("text", record.text, record),
    _text_entry("dataset_name", record.dataset_name, record),
    _text_entry("sample_id", record.sample_id, record),
  ]
  if record.language:
    entries.append(_text_entry("language", record.language, record))
  if record.prompt:
    entries.append(_text_entry("prompt", record.prompt, record))
  if record.speaker:
    entries.append(_text_entry("speaker", record.speaker, record))
  return wire.write_field(1, b"".join(entries))


def _flac(record: Record) -> bytes:
  try:
    return encode_flac(pcm16_samples(record))
  except AudioError as error:
    raise RecordError(str(error), record.sample_id) from error


def pcm16_samples(record: Record) -> np.ndarray:
  """The samples as little-endian 16-bit integers, [T], rounded and clipped at full scale.

  Raises:
    RecordError: they are out of scale, or nothing of them is left.
  """
  if record.audio.dtype == np.int16:
    return record.audio.astype("<i2", copy=False)
  peak = float(np.abs(record.audio).max(initial=0.0))
  if not peak <= MAX_PEAK:  # also true for NaN
    raise RecordError(
      f"audio has a peak of {peak:g}, expected at most 1 (up to {MAX_PEAK:g} is clipped); "
      "scale it to [-1, 1] or keep it as float32",
      record.sample_id,
    )
  scaled = np.rint(record.audio * np.float32(PCM16_SCALE))
  samples = np.clip(scaled, -PCM16_SCALE, PCM16_SCALE - 1).astype("<i2")
  if peak and not samples.any():
    raise RecordError(
      f"audio has a peak of {peak:g}, which is silence in 16 bits; amplify it or keep float32",
      record.sample_id,
    )
  return samples


def _entry(name: str, kind: int, values: bytes) -> bytes:
  """One entry of Features.feature, a map<string, Feature>."""
  feature = wire.write_field(kind, values)
  return wire.write_field(1, wire.write_field(1, name.encode()) + wire.write_field(2, feature))


def _integer_entry(name: str, value: int) -> bytes:
  return _entry(name, INT64_LIST, wire.write_field(1, wire.write_varint(value)))


def _text_entry(name: str, text: str, record: Record) -> bytes:
  try:
    return _entry(name, BYTES_LIST, wire.write_field(1, text.encode()))
  except UnicodeEncodeError as error:
    raise RecordError(
      f"{name} has no UTF-8 form ({error.reason} at character {error.start}); "
      "it holds half of a surrogate pair: write the character whole",
      record.sample_id,
    ) from error


def feature_names(data: bytes) -> list[str]:
  """Names of the features of a serialized tf.train.Example; none where it is not one."""
  try:
    return sorted(read_features(data))
  except wire.WireError:
    return []


# A feature's kind and the span of its list.
Feature = tuple[int, wire.Span]


def read_features(data: bytes) -> dict[str, Feature]:
  """Finds the features without parsing their values; of a repeated one the last counts."""
  features: dict[str, Feature] = {}
  for number, wire_type, features_span in wire.read_fields(data, (0, len(data))):
    if (number, wire_type) != (1, wire.LEN):
      continue
    for number, wire_type, entry_span in wire.read_fields(data, features_span):
      if (number, wire_type) != (1, wire.LEN):
        continue
      name, feature = b"", None
      for number, wire_type, span in wire.read_fields(data, entry_span):
        if (number, wire_type) == (1, wire.LEN):
          name = data[slice(*span)]
        elif (number, wire_type) == (2, wire.LEN):
          feature = _read_feature(data, span)
      if feature:
        features[name.decode(errors="replace")] = feature
  return features


def _read_feature(data: bytes, span: wire.Span) -> Feature | None:
  found = None
  for number, wire_type, list_span in wire.read_fields(data, span):
    if number in _KIND_NAMES and wire_type == wire.LEN:
      found = (number, list_span)
  return found


def _span_of(feature: Feature, name: str, kind: int) -> wire.Span:
  got, span = feature
  if got != kind:
    raise RecordError(f"feature '{name}' is a {_KIND_NAMES[got]}, expected a {_KIND_NAMES[kind]}")
  return span


def _read_record(features: dict[str, Feature], data: bytes, sample_id: str) -> StoredRecord:
  try:
    audio = _read_audio(features, data)
    length = _read_integer(features, "audio_len", data, len(audio))
    if length != len(audio):
      raise RecordError(f"audio has {len(audio)} samples, but audio_len says {length}")
    text = _read_text(features, "text", data)
    if not text.strip():
      raise RecordError("text is missing or empty; give the record one or leave it out")
    record = Record(
      sample_id=sample_id,
      audio=audio,
      text=text,
      dataset_name=_read_text(features, "dataset_name", data),
      language=_read_text(features, "language", data) or None,
      prompt=_read_text(features, "prompt", data),
      speaker=_read_text(features, "speaker", data) or None,
    )
    rate = _read_integer(features, "sample_rate", data, SAMPLE_RATE)
    if "audio_flac" in features and rate != SAMPLE_RATE:
      raise RecordError(f"sample_rate is {rate} Hz, but audio_flac is always at {SAMPLE_RATE} Hz")
    return StoredRecord(record=record, sample_rate=rate)
  except RecordError as error:
    raise RecordError(str(error), sample_id) from error
  except wire.WireError as error:
    raise RecordError(f"not a tf.train.Example: {error}", sample_id) from error


def _read_audio(features: dict[str, Feature], data: bytes) -> np.ndarray:
  if "audio_pcm16" in features:
    start, stop = _single_span(features, "audio_pcm16", data)
    if (stop - start) % 2:
      raise RecordError(f"feature 'audio_pcm16' has {stop - start} bytes, expected an even number")
    return np.frombuffer(data, "<i2", (stop - start) // 2, start)
  if "audio_flac" in features:
    try:
      return decode_flac(_read_single(features, "audio_flac", data))
    except AudioError as error:
      raise RecordError(f"feature 'audio_flac': {error}") from error
  if "audio" in features:
    return wire.read_floats(data, _span_of(features["audio"], "audio", FLOAT_LIST))
  raise RecordError(f"no feature 'audio', only {sorted(features)}; see the schema in the README")


def _read_single(features: dict[str, Feature], name: str, data: bytes) -> bytes:
  return data[slice(*_single_span(features, name, data))]


def _single_span(features: dict[str, Feature], name: str, data: bytes) -> wire.Span:
  """Finds the span of the only value of a bytes feature."""
  spans = wire.string_spans(data, _span_of(features[name], name, BYTES_LIST))
  if len(spans) != 1:
    raise RecordError(f"feature '{name}' has {len(spans)} values, expected 1")
  return spans[0]


def _read_integer(features: dict[str, Feature], name: str, data: bytes, default: int) -> int:
  if name not in features:
    return default
  values = wire.read_integers(data, _span_of(features[name], name, INT64_LIST))
  if len(values) != 1:
    raise RecordError(f"feature '{name}' has {len(values)} values, expected 1")
  return values[0]


def _read_text(features: dict[str, Feature], name: str, data: bytes) -> str:
  """Text of a feature, empty where there is none."""
  if name not in features:
    return ""
  value = _read_single(features, name, data)
  try:
    return value.decode()
  except UnicodeDecodeError as error:
    raise RecordError(
      f"{name} is not UTF-8 (byte 0x{value[error.start]:02x} at {error.start}); write it as UTF-8"
    ) from error
