"""Cached, batched generation writes what a forward pass over the whole text would, clip by clip."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from maxtext_ext import bridge
from maxtext_ext.config import load
from maxtext_ext.decode.generate import Generator
from maxtext_ext.input.collate import make_decode_batch
from maxtext_ext.input.utterance import build_utterance
from maxtext_ext.models.speech_lm import make_model
from maxtext_ext.text.tokenizer import Tokenizer, train_char_tokenizer
from tests import tiny

NEW_TOKENS = 12
SLOTS = 512  # of the uncached pass; one shape, so it compiles once


@functools.cache
def setup(directory: str, scanned: bool):
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
  def draw(path, value):
    if value.ndim == 1:
      return value
    scale = 1.0 if "embedding" in jax.tree_util.keystr(path) else 0.4
    return jnp.asarray(rng.normal(size=value.shape) * scale, value.dtype)

  params = jax.tree_util.tree_map_with_path(draw, params)
  return config, mesh, params, Tokenizer.from_directory(directory)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tokenizer")
  train_char_tokenizer(tiny.WORDS, folder, ["English", "Hebrew"])
  return str(folder)


def clips(tokenizer, seconds=(0.2, 1.0, 3.3, 7.9, 9.5)):
  records = [tiny.records(1, seed=i, seconds=(s, s + 1e-3))[0] for i, s in enumerate(seconds)]
  return [
    build_utterance(record, tokenizer, language_in_prompt=i % 2 == 0)
    for i, record in enumerate(records)
  ]


def generator(directory, scanned, eos_ids):
  config, mesh, params, tokenizer = setup(directory, scanned)
  generate = Generator(
    config,
    mesh,
    eos_ids=eos_ids,
    vocab_size=tokenizer.vocab_size,
    max_new_tokens=NEW_TOKENS,
  )
  return functools.partial(generate, params)


def uncached(directory, scanned, clip, eos_ids) -> list[int]:
  """Greedy tokens by running the whole sequence anew for every token."""
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


@pytest.mark.parametrize("scanned", [False, True], ids=["unscanned", "scanned"])
def test_tokens_equal_uncached_passes_clip_by_clip(directory, scanned):
  tokenizer = setup(directory, scanned)[3]
  utterances = clips(tokenizer)
  batch = make_decode_batch(utterances, pad_id=tokenizer.pad_id, rows=6)
  got = generator(directory, scanned, tokenizer.eos_ids)(batch.arrays)
  want = [uncached(directory, scanned, clip, tokenizer.eos_ids) for clip in utterances]
  assert got[: len(want)] == want
  assert got[len(want)] == [], "an empty row writes nothing"
  assert len({tuple(tokens) for tokens in want}) == len(want), "the clips differ in what they say"


def test_a_row_does_not_depend_on_its_mates(directory):
  tokenizer = setup(directory, False)[3]
  run = generator(directory, False, tokenizer.eos_ids)
  utterances = clips(tokenizer)
  together = run(make_decode_batch(utterances, pad_id=tokenizer.pad_id, rows=6).arrays)
  backwards = run(make_decode_batch(utterances[::-1], pad_id=tokenizer.pad_id, rows=6).arrays)
  assert together[:5] == backwards[:5][::-1]


def test_generation_stops_at_each_rows_end(directory):
  tokenizer = setup(directory, False)[3]
  utterances = clips(tokenizer)
  batch = make_decode_batch(utterances, pad_id=tokenizer.pad_id, rows=6).arrays
  free = generator(directory, False, tokenizer.eos_ids)(batch)
  end = free[1][3]  # a token that one row writes becomes an end
  run = generator(directory, False, {*tokenizer.eos_ids, end})
  for before, after in zip(free, run(batch), strict=True):
    assert after == (before[: before.index(end)] if end in before else before)
    assert run.func.is_complete(after) == (end in before or len(before) < NEW_TOKENS)
