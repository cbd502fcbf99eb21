"""Transcripts of held-out clips during training, by the same code as `decode`."""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Iterator

import jax
from flax import nnx
from jax.sharding import Mesh

from maxtext_ext import bridge
from maxtext_ext.decode.engines import make_engine
from maxtext_ext.decode.interface import Engine
from maxtext_ext.decode.request import Request
from maxtext_ext.evaluate.hypotheses import Hypothesis
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

  The clips are those that the filters let through. Programs are compiled at the first call. When
  the device is out of memory, fewer clips are decoded together.

  Raises:
    ValueError: the split is not there, or nothing in it can be used.
  """

  def __init__(self, config: bridge.Config, mesh: Mesh, tokenizer: Vocabulary) -> None:
    self._config, self._mesh, self._tokenizer = config, mesh, tokenizer
    self._rows = config.decode_rows
    self._engine = self._make_engine()
    self._split = decode_split(
      InputConfig.from_config(config, split=config.eval_split),
      tokenizer,
      host_index=jax.process_index(),
      host_count=jax.process_count(),
      most=config.eval_clips,
      filtered=True,
    )

  def _make_engine(self) -> Engine:
    config = bridge.replace(self._config, decode_rows=self._rows)
    announce = jax.process_index() == 0
    return make_engine(config, self._mesh, self._tokenizer, announce=announce)

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
    def check() -> None:
      if asked():
        raise BrokenOff

    mine: list[Hypothesis] = []
    with (
      contextlib.closing(iter(self._split)) as clips,
      ProgressLine("evaluate", len(clips), above=progress) as line,
    ):
      weights = self._engine.prepare(params)
      for answer in self._engine.run(weights, map(Request, clips), each_round=check):
        mine.append(answer.hypothesis())
        cut = sum(not clip.complete for clip in mine)
        line.update(len(mine), f"{cut} cut" if cut else "")
    self._engine.release()
    return list(_of_all_hosts(mine))

  def _decode_fewer(self, error: jax.errors.JaxRuntimeError) -> None:
    if not oom.is_out_of_memory(error):
      raise error
    now = f"out of memory in evaluation at decode_rows={self._rows}"
    if self._config.on_oom == "fail" or self._rows == 1:
      raise ValueError(f"{now}: give fewer, a lower max_new_tokens, or eval_clips=0") from error
    self._rows //= 2
    _log.warning("%s; continuing with %d", now, self._rows)
    self._engine = self._make_engine()


def _of_all_hosts(mine: list[Hypothesis]) -> Iterator[Hypothesis]:
  lines = json.dumps([dataclasses.asdict(clip) for clip in mine])
  for host in gather_texts(lines):
    yield from (Hypothesis(**clip) for clip in json.loads(host))
