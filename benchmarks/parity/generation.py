"""Generation in slots against a forward pass over the whole text for every token."""

import functools
import tempfile
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.parity import tiny
from maxtext_ext import bridge
from maxtext_ext.config import load
from maxtext_ext.decode.engine import SlotEngine
from maxtext_ext.decode.interface import Written
from maxtext_ext.decode.request import Request
from maxtext_ext.input.collate import make_decode_batch
from maxtext_ext.input.utterance import Utterance, build_utterance
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
from maxtext_ext.models.make import make_model
from maxtext_ext.text.tokenizer import Tokenizer, train_char_tokenizer

NEW_TOKENS = 12
SLOTS = 512  # of the uncached pass; one shape, so it compiles once


@functools.cache
def setup(directory: str, scanned: bool) -> tuple[bridge.Config, Any, nnx.State, Tokenizer]:
  """Configuration, mesh, parameters, tokenizer."""
  keys = [
    *tiny.SHAPE,
    f"scan_layers={scanned}",
    "matmul_precision=highest",
    "logits_via_embedding=false",
  ]
  config = load(tiny.DEMO, keys)
  mesh = bridge.make_mesh(config)
  with bridge.mesh_scope(config, mesh):
    params = nnx.state(make_model(config, mesh), nnx.Param)
  return config, mesh, draw_weights(params), Tokenizer.from_directory(directory)


def draw_weights(params: nnx.State) -> nnx.State:
  """Weights of a model whose answers vary: all but vectors are drawn anew."""
  rng = np.random.default_rng(0)

  def draw(path: tuple[Any, ...], value: jax.Array) -> jax.Array:
    if value.ndim == 1:
      return value
    scale = 1.0 if "embedding" in jax.tree_util.keystr(path) else 0.4
    return jnp.asarray(rng.normal(size=value.shape) * scale, value.dtype)

  return jax.tree_util.tree_map_with_path(draw, params)


def clips(
  tokenizer: Tokenizer, seconds: Sequence[float] = (0.2, 1.0, 3.3, 7.9, 9.5)
) -> list[Utterance]:
  """Utterances of noise, of different lengths."""
  records = [tiny.records(1, seed=i, seconds=(s, s + 1e-3))[0] for i, s in enumerate(seconds)]
  return [
    build_utterance(
      record, tokenizer, geometry=GEOMETRY, language_in_prompt=i % 2 == 0, with_target=False
    )
    for i, record in enumerate(records)
  ]


def engine(directory: str, scanned: bool, **keys: Any) -> tuple[SlotEngine, Any]:
  """The engine, and its weights; `keys` change the configuration."""
  config, mesh, params, tokenizer = setup(directory, scanned)
  keys = {"decode_rows": 4, "max_new_tokens": NEW_TOKENS, "audio_dtype": "float32", **keys}
  made = SlotEngine(bridge.replace(config, **keys), mesh, tokenizer)
  return made, made.prepare(params)


def write(made: SlotEngine, weights: Any, utterances: Sequence[Utterance]) -> dict[str, Written]:
  """Returns what the engine writes for each clip, by its id."""
  return {answer.clip.id: answer.written for answer in made.run(weights, map(Request, utterances))}


def uncached(
  directory: str,
  scanned: bool,
  clip: Utterance,
  eos_ids: Collection[int],
  choose: Callable[[jax.Array, list[int]], jax.Array] = lambda logits_V, _: jnp.argmax(logits_V),
) -> tuple[list[int], list[float]]:
  """Generates greedily, running the whole sequence again for every token.

  Args:
    choose: takes the next token, by its logits and the tokens before it.

  Returns:
    tokens without the eos, and the log-probability of each and of the eos.
  """
  config, mesh, _, tokenizer = setup(directory, scanned)
  run = _whole_pass(directory, scanned)
  batch = make_decode_batch([clip], pad_id=tokenizer.pad_id, shape=(2, SLOTS)).arrays
  written: list[int] = []
  log_probs: list[float] = []
  while len(written) < NEW_TOKENS:
    end = len(clip.prompt) + len(written)
    batch["inputs"][0, len(clip.prompt) : end] = written
    batch["inputs_position"][0, :end] = np.arange(end)
    batch["inputs_segmentation"][0, :end] = 1
    with bridge.mesh_scope(config, mesh):
      logits = run(jax.tree.map(jnp.asarray, batch))[0, end - 1, : tokenizer.vocab_size]
    token = int(choose(logits, written))
    log_probs.append(float(jax.nn.log_softmax(logits)[token]))
    if token in eos_ids:
      break
    written.append(token)
  return written, log_probs


@functools.cache
def _whole_pass(directory: str, scanned: bool) -> Callable[[dict[str, Any]], jax.Array]:
  config, mesh, params, _ = setup(directory, scanned)
  with bridge.mesh_scope(config, mesh):
    graphdef, _, rest = nnx.split(make_model(config, mesh), nnx.Param, ...)
  return jax.jit(lambda batch: nnx.merge(graphdef, params, rest, copy=True)(batch))


def count_differences(scanned: bool) -> float:
  """Counts clips for which generation in slots writes other tokens than without a cache."""
  with tempfile.TemporaryDirectory() as folder:
    train_char_tokenizer(tiny.WORDS, folder, ["English", "Hebrew"])
    tokenizer = setup(folder, scanned)[3]
    utterances = clips(tokenizer)
    written = write(*engine(folder, scanned), utterances)
    return sum(
      written[clip.sample_id].tokens != uncached(folder, scanned, clip, tokenizer.eos_ids)[0]
      for clip in utterances
    )
