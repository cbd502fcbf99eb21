"""Writer of a run's metrics and samples: TensorBoard and JSON lines."""

import dataclasses
import math
from collections.abc import Sequence

from tensorboardX import SummaryWriter

from maxtext_ext.files.jsonl import METRICS_FILE, StepLines
from maxtext_ext.input.drops import Drop
from maxtext_ext.train.samples import SAMPLES_FILE, Sample, to_markdown

UNALIGNED_FILE = "unaligned.jsonl"  # clips with too few frames for their letters, by id


class MetricWriter:
  """Scalars of a run into `{run_dir}/metrics.jsonl` and a TensorBoard folder; lists beside them.

  A full disk fails at the file, before it fails unnoticed in TensorBoard's thread.

  Args:
    start: steps completed before; what an earlier attempt wrote after it is dropped.
    evaluated: the last step of an evaluation that counts, up to `start`. A later one was
      interrupted, and its samples are dropped.
  """

  def __init__(
    self, run_dir: str, tensorboard_dir: str | None, *, start: int, evaluated: int = 0
  ) -> None:
    self._metrics = StepLines(run_dir, METRICS_FILE, until=start)
    self._samples = StepLines(run_dir, SAMPLES_FILE, until=evaluated)
    self._unaligned = StepLines(run_dir, UNALIGNED_FILE, until=start)
    self._board = (
      SummaryWriter(tensorboard_dir, purge_step=start + 1 if start else None)
      if tensorboard_dir
      else None
    )

  def write(self, step: int, scalars: dict[str, float]) -> None:
    """Writes scalars named `group/name`; the file has their names, and `eval_name` for eval's.

    Values that are not finite are left out, since JSON has none.

    Raises:
      OSError: the file cannot be written.
    """
    scalars = {key: value for key, value in scalars.items() if math.isfinite(value)}
    names = {
      key.replace("/", "_") if key.startswith("eval/") else key.split("/", 1)[1]: value
      for key, value in scalars.items()
    }
    self._metrics.write({"step": step, **names})
    if self._board is not None:
      for key, value in scalars.items():
        self._board.add_scalar(key, value, step)

  def write_samples(self, step: int, samples: Sequence[Sample]) -> None:
    """Writes samples of an evaluation.

    Raises:
      OSError: the file cannot be written.
    """
    for sample in samples:
      self._samples.write({"step": step, **dataclasses.asdict(sample)})
    if self._board is not None and samples:
      self._board.add_text("eval/samples", to_markdown(samples), step)

  def write_unaligned(self, step: int, clips: Sequence[Drop]) -> None:
    """Writes clips that were left out before a step, as they cannot be aligned.

    Raises:
      OSError: the file cannot be written.
    """
    for clip in clips:
      self._unaligned.write({"step": step, "id": clip.sample_id, "detail": clip.detail})

  def flush(self) -> None:
    """Makes what was written visible to others."""
    self._unaligned.flush()
    self._samples.flush()  # before the metrics, which say that the evaluation took place
    self._metrics.flush()
    if self._board is not None:
      self._board.flush()

  def close(self) -> None:
    """Flushes, and closes the files and the board."""
    self._unaligned.close()
    self._samples.close()
    self._metrics.close()
    if self._board is not None:
      self._board.close()
