"""Speed of the server that wrote hypotheses: latency, throughput, failed and repeated requests.

Lines have the fields `began` and `ended`, the seconds since 1970 between which the clip was with
the server, repeated requests and the waits before them included; `latency`, the seconds from
sending the request that was answered to the last byte of the answer; `attempts`, the number of
requests; and `error` instead of a transcript where there is none.
"""

import collections
import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from maxtext_ext.evaluate.hypothesis import ERROR, Hypothesis, number

BEGAN, ENDED, LATENCY, ATTEMPTS = "began", "ended", "latency", "attempts"
PERCENTILES = (50, 95, 99)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Speed:
  """Speed of a server, as its client saw it.

  Attributes:
    clips: sent to it.
    failures: clips without a transcript, by reason.
    repeats: requests beyond the first of a clip.
    audio_seconds: of the clips with a transcript.
    wall_seconds: time during which at least one clip was with the server; pauses between two runs
      of the client do not count.
    at_once: clips with the server at a time, on average over the wall time.
    latency_mean: seconds; None without a transcript.
    latency_percentiles: seconds, of PERCENTILES; none without a transcript.
  """

  clips: int
  failures: dict[str, int]
  repeats: int
  audio_seconds: float
  wall_seconds: float
  at_once: float
  latency_mean: float | None
  latency_percentiles: tuple[float, ...]

  @property
  def failed(self) -> int:
    """Clips without a transcript."""
    return sum(self.failures.values())

  @property
  def rtfx(self) -> float | None:
    """Seconds of audio transcribed in a second of wall time."""
    return self.audio_seconds / self.wall_seconds if self.wall_seconds else None

  @property
  def clips_per_second(self) -> float | None:
    """Transcripts in a second of wall time."""
    return (self.clips - self.failed) / self.wall_seconds if self.wall_seconds else None

  def figures(self) -> dict[str, Any]:
    """Returns counts, seconds and rates for JSON."""
    latency = {f"latency_p{each}": None for each in PERCENTILES} | {
      f"latency_p{each}": seconds
      for each, seconds in zip(PERCENTILES, self.latency_percentiles, strict=False)
    }
    return {
      "clips": self.clips,
      "failed": self.failed,
      "failures": self.failures,
      "repeats": self.repeats,
      "audio_seconds": self.audio_seconds,
      "wall_seconds": self.wall_seconds,
      "rtfx": self.rtfx,
      "clips_per_second": self.clips_per_second,
      "at_once": self.at_once,
      "latency_mean": self.latency_mean,
      **latency,
    }


def measure(hypotheses: Sequence[Hypothesis]) -> Speed | None:
  """Measures the speed of a server; None where no line says when it was asked."""
  asked = []
  for item in hypotheses:
    began, ended = _finite(item, BEGAN), _finite(item, ENDED)
    if began is not None and ended is not None and began <= ended:
      asked.append((item, began, ended))
  if not asked:
    return None
  answered = [item for item, *_ in asked if ERROR not in item.extra]
  reasons = (str(item.extra[ERROR]) for item, *_ in asked if ERROR in item.extra)
  failures = collections.Counter(reason.partition(":")[0] for reason in reasons)
  wall = _covered((began, ended) for _, began, ended in asked)
  latencies = [seconds for item in answered if (seconds := _finite(item, LATENCY)) is not None]
  return Speed(
    clips=len(asked),
    failures=dict(failures.most_common()),
    repeats=sum(max(0, int(_finite(item, ATTEMPTS) or 1) - 1) for item, *_ in asked),
    audio_seconds=math.fsum(item.duration for item in answered),
    wall_seconds=wall,
    at_once=math.fsum(ended - began for _, began, ended in asked) / wall if wall else 0.0,
    latency_mean=math.fsum(latencies) / len(latencies) if latencies else None,
    latency_percentiles=(
      tuple(np.percentile(latencies, PERCENTILES).tolist()) if latencies else ()
    ),
  )


def _finite(item: Hypothesis, name: str) -> float | None:
  value = number(item, name)
  return value if value is not None and math.isfinite(value) else None


def _covered(intervals: Iterable[tuple[float, float]]) -> float:
  """Returns the length of the union of intervals."""
  pieces: list[float] = []
  reached = -math.inf
  for start, end in sorted(intervals):
    if end > reached:
      pieces.append(end - max(start, reached))
      reached = end
  return math.fsum(pieces)
