"""Transcripts of held-out clips during training, by the same code as `decode`."""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Iterable, Iterator

import jax
from flax import nnx
from jax.sharding import Mesh

from maxtext_ext import bridge
from maxtext_ext.decode.engines import make_engine
from maxtext_ext.evaluate.hypotheses import Hypothesis
from maxtext_ext.input.collate import DecodeBatch
from maxtext_ext.input.pipeline import InputConfig, decode_split
from maxtext_ext.parallel import gather_texts
from maxtext_ext.progress import ProgressLine
from maxtext_ext.text.vocabulary import Vocabulary
from maxtext_ext.train import oom

_log = logging.getLogger(__name__)


class BrokenOff(Exception):
  """Evaluation was interrupted, because the run was asked to stop."""


class Transcripts:
  """Greedy transcripts of up to `eval_clips` clips of `eval_split`, always the same ones.

  The clips are those that the filters let through. Programs are compiled at the first call, one for
  each class of lengths. When the device is out of memory, fewer clips are decoded together.

  Raises:
    ValueError: the split is not there, or nothing in it can be used.
  """

  def __init__(self, config: bridge.Config, mesh: Mesh, tokenizer: Vocabulary) -> None:
    rows = config.decode_rows * jax.local_device_count()
    self._config = config
    self._engine = make_engine(config, mesh, tokenizer, announce=jax.process_index() == 0)
    self._split = decode_split(
      InputConfig.from_config(config, split=config.eval_split, rows=rows),
      tokenizer,
      host_index=jax.process_index(),
      host_count=jax.process_count(),
      most=config.eval_clips,
      filtered=True,
    )

  def __call__(
    self, params: nnx.State, progress: ProgressLine, asked: Callable[[], bool]
  ) -> list[Hypothesis]:
    """Decodes the clips of all hosts with these parameters; returns the result on every host.

    Args:
      progress: parent of its own progress line.
      asked: whether to interrupt it; every host gets the same answer.

    Raises:
      BrokenOff: it was interrupted.
    """
    while True:
      try:
        return self._decode(params, progress, asked)
      except jax.errors.JaxRuntimeError as error:
        self._decode_fewer(error)

  def _decode(
    self, params: nnx.State, progress: ProgressLine, asked: Callable[[], bool]
  ) -> list[Hypothesis]:
    mine: list[Hypothesis] = []
    with (
      contextlib.closing(iter(self._split)) as batches,
      ProgressLine("evaluate", len(batches), above=progress) as line,
    ):
      wanted = _until(asked, batches)
      for number, answers in enumerate(self._engine.run(params, wanted), 1):
        mine += [answer.hypothesis() for answer in answers]
        cut = sum(not clip.complete for clip in mine)
        line.update(number, f"{len(mine)} clips" + (f", {cut} cut" if cut else ""))
    return list(_of_all_hosts(mine))

  def _decode_fewer(self, error: jax.errors.JaxRuntimeError) -> None:
    rows, devices = self._split.config.rows, jax.local_device_count()
    if not oom.is_out_of_memory(error):
      raise error
    now = f"out of memory in evaluation at decode_rows={rows // devices}"
    if self._config.on_oom == "fail" or rows == devices:
      raise ValueError(f"{now}: give fewer, a lower max_new_tokens, or eval_clips=0") from error
    fewer = max(1, rows // devices // 2)
    _log.warning("%s; continuing with %d", now, fewer)
    self._split = self._split.with_rows(fewer * devices)


def _until(asked: Callable[[], bool], batches: Iterable[DecodeBatch]) -> Iterator[DecodeBatch]:
  """The batches; raises BrokenOff instead of the next one once it was asked for."""
  for batch in batches:
    if asked():
      raise BrokenOff
    yield batch


def _of_all_hosts(mine: list[Hypothesis]) -> Iterator[Hypothesis]:
  lines = json.dumps([dataclasses.asdict(clip) for clip in mine])
  for host in gather_texts(lines):
    yield from (Hypothesis(**clip) for clip in json.loads(host))
