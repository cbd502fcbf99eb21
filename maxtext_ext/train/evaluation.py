"""Evaluation in the loop: what a held-out split says about the model of a step."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jax.sharding import NamedSharding

from maxtext_ext.input.pipeline import InputConfig, eval_iterator
from maxtext_ext.parallel import to_device
from maxtext_ext.text.tokenizer import Tokenizer


class Evaluation:
  """The evaluation of a run.

  Args:
    inputs: of the split, on this host.
    tokenizer: the model's.
    interval: steps from one to the next; 0 or less: none.
    step_fn: `step.eval_step`, compiled.
    placement: of a batch on the mesh.
  """

  def __init__(
    self,
    inputs: InputConfig,
    tokenizer: Tokenizer,
    *,
    interval: int,
    step_fn: Callable[..., Any],
    placement: NamedSharding,
  ) -> None:
    self._inputs = inputs
    self._tokenizer = tokenizer
    self._interval = interval
    self._step_fn = step_fn
    self._placement = placement

  def due(self, step: int) -> bool:
    """Whether it follows on so many completed steps."""
    return self._interval > 0 and step % self._interval == 0

  def __call__(self, state: nnx.State) -> dict[str, float]:
    """Scalars of the whole split: the mean loss over its target tokens, in nats.

    Raises:
      ValueError: the split has no target tokens.
    """
    hosts = {"host_index": jax.process_index(), "host_count": jax.process_count()}
    total = tokens = 0.0
    for batch in eval_iterator(self._inputs, self._tokenizer, **hosts):
      metrics = jax.device_get(self._step_fn(state, to_device(batch, self._placement)))
      total += float(metrics["total"])
      tokens += float(metrics["target_tokens"])
    if tokens == 0:
      raise ValueError("the evaluation split has no target tokens: check eval_split and data_dir")
    return {"eval/loss": total / tokens}
