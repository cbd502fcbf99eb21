"""Audio of a record as its source stores it: part of a file, encoded bytes, or samples."""

import base64
import binascii
import dataclasses
import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from maxtext_ext.audio.io import convert_blocks, convert_samples, decode_audio, read_blocks
from maxtext_ext.audio.limits import AudioError
from maxtext_ext.sources.named_files import load_named, open_named

_MAX_CHANNELS = 16
_MAX_SECONDS = 1e9  # of an offset: what is beyond is no time
_SCALE_16, _SCALE_32 = 1 << 15, 1 << 31  # full scale of integers


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
  """Sound of a record, in one of the first three attributes.

  Attributes:
    samples: numbers, of one channel or several.
    data: a sound file.
    path: a path or URL of one.
    rate: of the samples, in Hz.
    offset, duration: the part of the file, in seconds; None: from its beginning, to its end.
    declared: length that the record says the file has, see `read_audio`.
    channel: one of its channels, from 0; None: their mean.
  """

  samples: Any = None
  data: bytes | None = None
  path: str = ""
  rate: Any = None
  offset: float | None = None
  duration: float | None = None
  declared: float | None = None
  channel: int | None = None

  def load(self, folder: str, *, allow_urls: bool = False) -> np.ndarray:
    """Decodes it to [T] samples at 16 kHz.

    Args:
      folder: what a relative path starts from.
      allow_urls: whether a path may be one of the web.

    Raises:
      AudioError: it cannot be used.
    """
    part = self._part()
    if self.samples is not None:
      return convert_samples(as_mono(self.samples), _check_rate(self.rate))
    if self.data is not None:
      return decode_audio(self.data, **part)
    if not self.path:
      raise AudioError("audio is missing: it has neither bytes nor a path")
    return load_named(self.path, folder, allow_urls=allow_urls, **part)

  def blocks(self, folder: str) -> Iterator[np.ndarray]:
    """Decodes a recording that is too long for `load`, as `audio.io.read_blocks` does.

    Args:
      folder: what a relative path starts from.

    Raises:
      AudioError: it cannot be used.
    """
    if self.samples is not None:
      yield from convert_blocks(as_mono(self.samples), _check_rate(self.rate))
    elif self.data is not None:
      yield from read_blocks(io.BytesIO(self.data), **self._part())
    else:
      with open_named(self.path, folder) as file:
        yield from read_blocks(file, **self._part())

  def _part(self) -> dict[str, Any]:
    """Returns the part of the file, as `read_audio` takes it."""
    if any(abs(value or 0.0) > _MAX_SECONDS for value in (self.offset, self.duration)):
      raise AudioError(f"segment starts at {self.offset} s and takes {self.duration} s")
    return {
      "offset": self.offset or 0.0,
      "duration": self.duration,
      "declared": self.declared,
      "channel": self.channel,
    }


def clip_of(value: Any, rate: Any = None) -> Clip:
  """Reads the value of a column or key with audio, in any of the usual forms.

  Args:
    value: a path, the bytes of a file, numbers, a mapping {bytes, path, array, sampling_rate} of
      which some may be missing or null, or a list of one of these.
    rate: of numbers that do not say theirs.

  Raises:
    AudioError: it is none of these, or empty.
  """
  if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping | bytes):
    return clip_of(value[0], rate)
  if isinstance(value, str):
    return Clip(path=value)
  if isinstance(value, bytes):
    return Clip(data=value)
  if isinstance(value, list | np.ndarray):
    return Clip(samples=value, rate=rate)
  if isinstance(value, Mapping):
    return _of_mapping(value, rate)
  if value is None:
    raise AudioError("audio is missing")
  raise AudioError(f"audio is {value!r:.60}, expected a path, bytes or samples")


def _of_mapping(value: Mapping[str, Any], rate: Any) -> Clip:
  data, samples, path = value.get("bytes"), value.get("array"), value.get("path")
  if data is not None:
    return Clip(data=_from_base64(data) if isinstance(data, str) else data, path=path or "")
  if samples is not None:
    found = value.get("sampling_rate", value.get("sample_rate", rate))
    return Clip(samples=samples, rate=found, path=path or "")
  if isinstance(path, str) and path:
    return Clip(path=path)
  array = " nor an array" if "array" in value else ""
  raise AudioError(f"audio is missing: it has neither bytes{array} nor a path")


def as_mono(values: Any) -> np.ndarray:
  """Numbers as one channel of floats of full scale 1, or of int16.

  Integers beyond 16 bits have a full scale of 32 bits, as soundfile, scipy and torchaudio write
  them. Of two axes the shorter one is the channels.

  Raises:
    AudioError: no numbers, or of another form.
  """
  try:
    samples = np.asarray(values)
    if samples.dtype == object and samples.size:  # rows of a nested list
      samples = np.stack([np.asarray(row) for row in samples])
  except ValueError as error:
    raise AudioError(
      "audio is lists of different lengths, expected [T] or [channels, T]"
    ) from error
  if samples.ndim > 2 or (samples.size and samples.dtype.kind not in "fi"):
    raise AudioError(
      f"audio is {samples.dtype}{list(samples.shape)}, expected floats or signed integers [T] or "
      "[channels, T]"
    )
  if samples.ndim == 2:
    axis = int(np.argmin(samples.shape))
    if samples.shape[axis] > _MAX_CHANNELS:
      raise AudioError(f"audio has shape {list(samples.shape)}, expected [T] or [channels, T]")
    samples = samples.take(0, axis) if samples.shape[axis] == 1 else _mean(samples, axis)
  if samples.dtype.kind == "i" and samples.dtype != np.int16:
    return _scaled(samples)
  return samples.astype(np.float32) if samples.dtype.kind != "i" else samples


def _mean(samples: np.ndarray, axis: int) -> np.ndarray:
  if samples.dtype.kind == "i":
    samples = _scaled(samples)
  return samples.mean(axis=axis, dtype=np.float32)


def _scaled(samples: np.ndarray) -> np.ndarray:
  peak = max(abs(int(samples.max(initial=0))), abs(int(samples.min(initial=0))))
  if peak > _SCALE_32:
    raise AudioError(f"audio has integers up to {peak}, expected 16 or 32 bits")
  scale = _SCALE_16 if peak <= _SCALE_16 else _SCALE_32
  return (samples / scale).astype(np.float32)


def _check_rate(rate: Any) -> int:
  if isinstance(rate, float) and rate.is_integer():
    rate = int(rate)
  if not isinstance(rate, int) or isinstance(rate, bool):
    raise AudioError(f"the sampling rate of its samples is {rate!r:.40}, expected a number of Hz")
  return rate


def _from_base64(text: str) -> bytes:
  try:
    return base64.b64decode(text, validate=True)
  except binascii.Error as error:
    raise AudioError(f"'bytes' is text that is not base64 ({error}); write parquet") from error
