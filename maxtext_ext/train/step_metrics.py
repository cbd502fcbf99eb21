"""Metrics of a step, written while the device works on the next one."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from maxtext_ext.input.drops import Drop
from maxtext_ext.input.pipeline import Fill
from maxtext_ext.train.evaluation import Findings
from maxtext_ext.train.metric_writer import MetricWriter
from maxtext_ext.train.nonfinite import NonFiniteGuard

# Metrics of every step; a model may have further ones.
_EVERY = ("loss", "target_tokens", "gradient_norm", "updates")


class StepLog:
  """Metrics of one step, written when the next has been sent to the device.

  Args:
    writer: of the host that writes; None on the others.
    schedule: the learning rate by the number of updates before.

  Attributes:
    loss: nats a target token, of the last step that was written.
  """

  def __init__(self, writer: MetricWriter | None, schedule: Callable[[int], jax.Array]) -> None:
    self.loss = float("nan")
    self._writer = writer
    self._schedule = jax.jit(schedule)  # else a dozen small programs a step
    self._guard = NonFiniteGuard()
    self._held: tuple[int, Any, Fill, dict[str, float], Sequence[str], Sequence[Drop]] | None = None
    self._time = time.monotonic()

  def hold(
    self,
    step: int,
    metrics: dict[str, jax.Array],
    filled: Fill,
    inputs: dict[str, float],
    records: Sequence[str],
    unaligned: Sequence[Drop] = (),
  ) -> None:
    """Holds a step's metrics on the device and what is known of its batch on this host."""
    self._held = (step, metrics, filled, inputs, records, unaligned)

  def flush(self) -> str:
    """Writes what is held; returns a note for the progress line.

    Raises:
      ValueError: too many steps in a row were not finite.
    """
    if self._held is None:
      return ""
    (step, metrics, filled, inputs, records, unaligned), self._held = self._held, None
    values = {key: float(value) for key, value in jax.device_get(metrics).items()}
    now = time.monotonic()
    seconds, self._time = now - self._time, now
    speed = filled.audio_seconds * jax.process_count() / max(seconds, 1e-9)
    self.loss, updates = values["loss"], int(values["updates"])
    usable = math.isfinite(self.loss) and math.isfinite(values["gradient_norm"])
    if self._writer is not None:
      scalars = {
        "learning/loss": self.loss,
        "learning/learning_rate": float(self._schedule(updates - usable)),
        "learning/gradient_norm": values["gradient_norm"],
        "learning/target_tokens": values["target_tokens"],
        "learning/skipped_steps": float(step - updates),
        "speed/audio_seconds_per_second": speed,
        "speed/step_seconds": seconds,
        "input/token_fill": filled.token_fill,
        "input/chunk_fill": filled.chunk_fill,
        **{f"learning/{key}": value for key, value in values.items() if key not in _EVERY},
        **inputs,
      }
      self._writer.write(step, scalars)
      self._writer.write_unaligned(step, unaligned)
    self._guard.note(step, usable=usable, records=records)
    return f"loss {self.loss:.3f}  {speed:.0f} audio s/s  fill {filled.token_fill:.0%}"

  def sync(self) -> None:
    """Writes everything to disk, before a checkpoint is saved."""
    self.flush()
    if self._writer is not None:
      self._writer.flush()

  def write_evaluation(self, step: int, findings: Findings) -> None:
    """Writes the results of an evaluation; its time does not count as the next step's."""
    if self._writer is not None:
      self._writer.write_samples(step, findings.samples)
      # After the samples: what stands in the metrics has taken place.
      self._writer.write(step, findings.scalars())
      self._writer.flush()
    self._time = time.monotonic()

  def close(self) -> None:
    """Closes the files."""
    if self._writer is not None:
      self._writer.close()
