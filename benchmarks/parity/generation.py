"""Cached, batched generation against a forward pass over the whole text for every token."""

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
from maxtext_ext.decode.generate import Generator
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
  rng = np.random.default_rng(0)

  # An untied head: with a tied one every token of a random model is followed by itself.
  def draw(path: tuple[Any, ...], value: jax.Array) -> jax.Array:
    if value.ndim == 1:
      return value
    scale = 1.0 if "embedding" in jax.tree_util.keystr(path) else 0.4
    return jnp.asarray(rng.normal(size=value.shape) * scale, value.dtype)

  params = jax.tree_util.tree_map_with_path(draw, params)
  return config, mesh, params, Tokenizer.from_directory(directory)


def clips(
  tokenizer: Tokenizer, seconds: Sequence[float] = (0.2, 1.0, 3.3, 7.9, 9.5)
) -> list[Utterance]:
  """Utterances of noise, of different lengths."""
  records = [tiny.records(1, seed=i, seconds=(s, s + 1e-3))[0] for i, s in enumerate(seconds)]
  return [
    build_utterance(record, tokenizer, geometry=GEOMETRY, language_in_prompt=i % 2 == 0)
    for i, record in enumerate(records)
  ]


def generator(
  directory: str, scanned: bool, eos_ids: Collection[int]
) -> Callable[[dict[str, np.ndarray]], list[list[int]]]:
  """Cached generation: batch -> tokens of each row."""
  config, mesh, params, tokenizer = setup(directory, scanned)
  generate = Generator(
    config,
    mesh,
    eos_ids=eos_ids,
    vocab_size=tokenizer.vocab_size,
    max_new_tokens=NEW_TOKENS,
  )
  return functools.partial(generate, params)


def uncached(directory: str, scanned: bool, clip: Utterance, eos_ids: Collection[int]) -> list[int]:
  """Generates greedily, running the whole sequence again for every token."""
  config, mesh, params, tokenizer = setup(directory, scanned)
  with bridge.mesh_scope(config, mesh):
    graphdef, _, rest = nnx.split(make_model(config, mesh), nnx.Param, ...)
    run = jax.jit(lambda batch: nnx.merge(graphdef, params, rest, copy=True)(batch))
    batch = make_decode_batch([clip], pad_id=tokenizer.pad_id, shape=(2, SLOTS)).arrays
    written: list[int] = []
    while len(written) < NEW_TOKENS:
      end = len(clip.prompt) + len(written)
      batch["inputs"][0, len(clip.prompt) : end] = written
      batch["inputs_position"][0, :end] = np.arange(end)
      batch["inputs_segmentation"][0, :end] = 1
      logits = run(jax.tree.map(jnp.asarray, batch))[0, end - 1, : tokenizer.vocab_size]
      token = int(jnp.argmax(logits))
      if token in eos_ids:
        break
      written.append(token)
  return written


def count_differences(scanned: bool) -> float:
  """Counts clips for which batched generation with a cache writes other tokens than without."""
  with tempfile.TemporaryDirectory() as folder:
    train_char_tokenizer(tiny.WORDS, folder, ["English", "Hebrew"])
    tokenizer = setup(folder, scanned)[3]
    utterances = clips(tokenizer)
    run = generator(folder, scanned, tokenizer.eos_ids)
    written = run(make_decode_batch(utterances, pad_id=tokenizer.pad_id).arrays)
    return sum(
      tokens != uncached(folder, scanned, clip, tokenizer.eos_ids)
      for tokens, clip in zip(written, utterances, strict=True)
    )
