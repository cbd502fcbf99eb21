"""Sound inside an HTML page, up to a limit of bytes."""

import base64

import numpy as np

from maxtext_ext.audio.flac import encode_flac
from maxtext_ext.audio.limits import PCM16_SCALE


class Players:
  """Maker of the players of a page.

  Args:
    max_bytes: of all of them together, as they stand in the page.
  """

  def __init__(self, max_bytes: int) -> None:
    self._bytes_left = max_bytes

  def embed(self, samples_T: np.ndarray) -> str:
    """Returns a clip as a data: URI; "" where the page has no room for it.

    Args:
      samples_T: [T] float with full scale at 1, at 16 kHz.
    """
    scaled = np.clip(np.rint(samples_T * PCM16_SCALE), -PCM16_SCALE, PCM16_SCALE - 1)
    data = base64.b64encode(encode_flac(scaled.astype(np.int16))).decode()
    if len(data) > self._bytes_left:
      return ""
    self._bytes_left -= len(data)
    return f"data:audio/flac;base64,{data}"
