"""Limits and units of sound, and the error for what cannot be used."""

SAMPLE_RATE = 16_000  # Hz
# Below this rate there is no speech left, and resampling multiplies the memory.
MIN_SOURCE_RATE = 1_000  # Hz
MAX_SOURCE_RATE = 768_000  # Hz
# The longest clip; Qwen3-ASR takes no longer one, and memory is bounded whatever a file unpacks to.
MAX_SECONDS = 1_200.0
# Values to decode for a clip, over all channels: MAX_SECONDS of stereo at 48 kHz. More takes long,
# and a few kilobytes may claim as many.
MAX_VALUES = 120_000_000
MAX_LONG_SECONDS = 36_000.0  # the longest recording that is decoded in pieces: 10 hours
PCM16_SCALE = 32_768  # int16 sample value of full scale, 1.0
# The largest magnitude of a sample. Float files may overshoot full scale a little; a clip beyond
# this is not scaled to [-1, 1] at all.
MAX_PEAK = 8.0
# The same for what is stored already, by whatever program: beyond this the power of a frame, and so
# the log-mel, is no number in float32. Mixing with noise may add as much again.
LOUDEST = 1e15


class AudioError(ValueError):
  """The audio cannot be used; the text says why."""


class TooLongError(AudioError):
  """The audio is longer than what is decoded at once."""


def max_values(max_seconds: float) -> int:
  """Values to decode for a recording of at most so many seconds: MAX_VALUES in proportion."""
  return round(MAX_VALUES * max_seconds / MAX_SECONDS)
