"""Batched greedy generation with MaxText's KV cache.

Prompts of different lengths are left-aligned in one batch. Slots after a prompt's end have segment
0 in the cache and are never attended to, so a row's tokens do not depend on the other rows.
"""

import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Int

from maxtext_ext import bridge
from maxtext_ext.decode.interface import Engine, Written
from maxtext_ext.models.interface import Batch
from maxtext_ext.models.make import make_model
from maxtext_ext.models.speech_lm import AUDIO_KEYS, SpeechLM
from maxtext_ext.parallel import local_rows, to_device
from maxtext_ext.progress import announce_first_call
from maxtext_ext.text.tokenizer import Tokenizer


class Generator:
  """Greedy generation by a model; one compiled program per batch shape.

  Args:
    config: the model's configuration; lengths and rows are taken from each batch instead.
    eos_ids: tokens that end a transcript.
    vocab_size: tokens that may be written; a checkpoint's vocabulary is padded beyond them.
    announce: whether to report compilation on stderr.
  """

  def __init__(
    self,
    config: bridge.Config,
    mesh: Mesh,
    *,
    eos_ids: Iterable[int],
    vocab_size: int,
    max_new_tokens: int,
    announce: bool = False,
  ) -> None:
    self._config, self._mesh = config, mesh
    self._placement = bridge.input_sharding(config, mesh)
    self._eos_ids = tuple(sorted(eos_ids))
    self._vocab_size = vocab_size
    self.max_new_tokens = max_new_tokens
    self._announce = announce
    self._programs = functools.cache(self._program)

  def __call__(self, params: nnx.State, batch: dict[str, np.ndarray]) -> list[list[int]]:
    """Generates tokens for each of this host's rows, without the final eos.

    Args:
      params: of a SpeechLM, as `load_params` or the model of a train state gives them.
      batch: `inputs`, `inputs_position`, `inputs_segmentation` [B, P] with prompts from column 0,
        and the audio keys.
    """
    rows, prompt = batch["inputs"].shape
    keys = ("inputs", "inputs_position", "inputs_segmentation", *AUDIO_KEYS)
    arrays = to_device({key: batch[key] for key in keys if key in batch}, self._placement)
    with bridge.mesh_scope(self._config, self._mesh):
      tokens = self._programs(rows * jax.process_count(), prompt)(params, arrays)
    return [self._cut(row) for row in local_rows(tokens).tolist()]

  def is_complete(self, tokens: list[int]) -> bool:
    """Returns whether the model ended the transcript, rather than `max_new_tokens`."""
    return len(tokens) < self.max_new_tokens

  def _cut(self, tokens: list[int]) -> list[int]:
    ends = [i for i, token in enumerate(tokens) if token in self._eos_ids]
    return tokens[: ends[0]] if ends else tokens

  def _program(self, rows: int, prompt: int):
    config = bridge.replace(
      self._config,
      max_prefill_predict_length=prompt,
      max_target_length=prompt + self.max_new_tokens,
      micro_batch_size_to_train_on=rows,
      global_batch_size_to_train_on=rows,
      global_batch_size_to_load=rows,
    )
    abstract = nnx.eval_shape(
      lambda: make_model(config, self._mesh, model_mode=bridge.MODEL_MODE_AUTOREGRESSIVE)
    )
    graphdef, _, cache, rest = nnx.split(abstract, nnx.Param, nnx.Cache, ...)
    run = functools.partial(
      _generate,
      graphdef,
      cache,
      rest,
      eos_ids=self._eos_ids,
      vocab_size=self._vocab_size,
      max_new_tokens=self.max_new_tokens,
    )
    return announce_first_call(
      jax.jit(run, out_shardings=self._placement),
      f"compiling the decoder for {rows} clips, prompts of {prompt} tokens",
      visible=self._announce,
    )


def _generate(
  graphdef: nnx.GraphDef,
  abstract_cache: nnx.State,
  abstract_rest: nnx.State,
  params: nnx.State,
  batch: Batch,
  *,
  eos_ids: tuple[int, ...],
  vocab_size: int,
  max_new_tokens: int,
) -> Int[Array, "B N"]:
  """Generates the tokens of all rows; slots after a row's end hold an eos token."""
  cache, rest = (
    jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state)
    for state in (abstract_cache, abstract_rest)
  )
  eos = jnp.asarray(eos_ids, jnp.int32)

  def pick(model: SpeechLM, hidden_B1D: jax.Array, mode: str) -> Int[Array, "B"]:
    logits_BV = model.head(hidden_B1D, model_mode=mode)[:, 0, :vocab_size]
    return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)

  model = nnx.merge(graphdef, params, cache, rest, copy=True)
  hidden_BPD = model.hidden(batch, model_mode=bridge.MODEL_MODE_PREFILL)
  lengths_B = jnp.sum(batch["inputs_segmentation"] != 0, axis=1)
  last_B11 = jnp.maximum(lengths_B - 1, 0)[:, None, None]
  first_B = pick(
    model, jnp.take_along_axis(hidden_BPD, last_B11, axis=1), bridge.MODEL_MODE_PREFILL
  )
  # Padding rows start finished.
  first_B = jnp.where(lengths_B > 0, first_B, eos[0])
  written_BN = jnp.full((first_B.shape[0], max_new_tokens), eos[0], jnp.int32)
  written_BN = written_BN.at[:, 0].set(first_B)

  def unfinished(carry: tuple) -> jax.Array:
    _, step, done_B, *_ = carry
    return (step < max_new_tokens) & ~jnp.all(done_B)

  def write_next(carry: tuple) -> tuple:
    cache, step, done_B, token_B, written_BN = carry
    model = nnx.merge(graphdef, params, cache, rest, copy=True)
    positions_B = lengths_B + step - 1
    hidden_B1D = model.hidden(
      {"inputs": token_B[:, None], "inputs_position": positions_B[:, None]},
      model_mode=bridge.MODEL_MODE_AUTOREGRESSIVE,
    )
    next_B = pick(model, hidden_B1D, bridge.MODEL_MODE_AUTOREGRESSIVE)
    next_B = jnp.where(done_B, eos[0], next_B)
    written_BN = jax.lax.dynamic_update_slice(written_BN, next_B[:, None], (0, step))
    return nnx.state(model, nnx.Cache), step + 1, done_B | jnp.isin(next_B, eos), next_B, written_BN

  start = (nnx.state(model, nnx.Cache), 1, jnp.isin(first_B, eos), first_B, written_BN)
  return jax.lax.while_loop(unfinished, write_next, start)[-1]


class GreedyBatchEngine(Engine):
  """Greedy decoding of a whole batch at a time, until its last row has ended."""

  def __init__(
    self, config: bridge.Config, mesh: Mesh, tokenizer: Tokenizer, *, announce: bool = False
  ) -> None:
    super().__init__(config, mesh, tokenizer, announce=announce)
    self._generator = Generator(
      config,
      mesh,
      eos_ids=tokenizer.eos_ids,
      vocab_size=tokenizer.vocab_size,
      max_new_tokens=config.max_new_tokens,
      announce=announce,
    )

  def write(self, params: nnx.State, arrays: dict[str, np.ndarray]) -> list[Written]:
    """Writes up to `max_new_tokens` tokens a row."""
    generator = self._generator
    return [
      Written(tokens=tokens, complete=generator.is_complete(tokens))
      for tokens in generator(params, arrays)
    ]
