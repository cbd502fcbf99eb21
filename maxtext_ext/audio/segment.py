"""Part of a sound file that a manifest asks for: what to decode, and whether it is there."""

import decimal
import math

from maxtext_ext.audio.limits import SAMPLE_RATE, AudioError

# How far a segment may end behind its file, as manifests round: a share of it, up to some seconds.
_SEGMENT_SLACK = 0.2
_MAX_SLACK = 0.5


def check_part(offset: float, duration: float | None) -> None:
  """Raises AudioError for a part that no file has."""
  if not (math.isfinite(offset) and offset >= 0) or not (duration is None or duration > 0):
    raise AudioError(
      f"segment starts at {offset} s and takes {duration} s; expected 0 or more, and more than 0"
    )


def decoded_seconds(duration: float | None, declared: float | None) -> float | None:
  """Returns how many seconds to decode of a file."""
  return duration if declared is None else declared + _last_digit(declared)


def check_end(count: int, offset: float, duration: float | None) -> None:
  """Raises AudioError for a part that ends behind the file, by its number of samples."""
  if is_short(count, duration) or (offset and not count):
    length = "" if duration is None else f" and takes {duration} s"
    raise AudioError(
      f"segment starts at {offset:.2f} s{length}, but the audio ends "
      f"{count / SAMPLE_RATE:.2f} s behind its start; correct the manifest"
    )


def is_short(count: int, duration: float | None) -> bool:
  """Returns whether a segment ends so far behind the file's end that sound is missing."""
  if duration is None:
    return False
  return count / SAMPLE_RATE < duration - min(_SEGMENT_SLACK * duration, _MAX_SLACK)


def _last_digit(seconds: float) -> float:
  """Returns the most that rounding may have left out: 0.1 of 2.5, 1 of 16."""
  exponent = decimal.Decimal(repr(seconds)).normalize().as_tuple().exponent
  return 10.0 ** min(0, int(exponent))
