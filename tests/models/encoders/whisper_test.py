"""Whisper's encoder against transformers', in the shapes of every published size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.parity.references import whisper as golden
from benchmarks.parity.references.whisper import WhisperReference
from benchmarks.parity.whisper import Encoder
from maxtext_ext.audio.geometry import HOP
from maxtext_ext.models.encoders import ENCODERS, whisper
from maxtext_ext.models.encoders.whisper import POSITIONS, WhisperConfig, WhisperEncoder

TOLERANCE = 1e-4  # of the largest value


@functools.cache
def outputs() -> dict[str, np.ndarray]:
  return golden.outputs()


@functools.cache
def encoder(name: str) -> Encoder:
  return Encoder.of(golden.REFERENCES[name])


def error(ref: WhisperReference, number: int, got: list[np.ndarray]) -> float:
  """The largest difference to the reference, as a part of its largest value."""
  worst, parts = 0.0, golden.windows(ref.clips()[number])
  for window, (part, states) in enumerate(zip(parts, got, strict=True)):
    want = outputs()[f"{ref.name}_{number}_{window}"]
    stored = states[golden.stored_positions(number, len(part))]
    worst = max(worst, np.abs(stored - want).max() / np.abs(want).max())
  return worst


@pytest.mark.parametrize("number", range(len(golden.TINY.seconds)))
def test_a_clip_alone_equals_the_reference(number: int):
  """Clips of 0.1 to 30 s, at both sides of the ends of chunks and windows, and one of 47 s."""
  clip = golden.TINY.clips()[number]
  got = encoder("tiny")([clip], len(golden.windows(clip)))[0]
  assert error(golden.TINY, number, got) < TOLERANCE


@pytest.mark.parametrize(
  "name",
  [
    "base",
    "small",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("medium", "large-v3")),
  ],
)
def test_every_published_width_equals_the_reference(name: str):
  ref = golden.REFERENCES[name]
  assert error(ref, 0, encoder(name)(ref.clips(), 1)[0]) < TOLERANCE


def test_a_packed_clip_has_every_bit_of_the_clip_alone():
  clips = golden.TINY.clips()
  packed = encoder("tiny")([clips[2], clips[1], clips[0]], 3)
  for number, got in zip((2, 1, 0), packed, strict=True):
    (alone,) = encoder("tiny")([clips[number]], 2)
    np.testing.assert_array_equal(got, alone)
    assert error(golden.TINY, number, got) < TOLERANCE


MISTAKES = {
  "positions": lambda model: model.embed_positions.set_value(
    jnp.roll(model.embed_positions[...], 1, axis=0)
  ),
  "key and query": lambda model: model.layers.self_attn.k_proj.kernel.set_value(
    model.layers.self_attn.q_proj.kernel[...]
  ),
  "order of the layers": lambda model: model.layers.fc2.kernel.set_value(
    model.layers.fc2.kernel[::-1]
  ),
}


@pytest.mark.parametrize("mistake", [*MISTAKES, "tanh GELU", "padding of the log-mel"])
def test_the_reference_shows_a_small_mistake(mistake: str, monkeypatch: pytest.MonkeyPatch):
  """The tolerance is worth something only where errors like these exceed it."""
  number, clips = 0, golden.TINY.clips()
  right = encoder("tiny")
  if mistake in MISTAKES:
    model = nnx.merge(right.graph, right.state)
    MISTAKES[mistake](model)
    wrong = right.changed(nnx.state(model))
  elif mistake == "tanh GELU":
    monkeypatch.setattr(whisper, "gelu", jax.nn.gelu)
    wrong = right.changed(right.state)
  else:
    wrong = right.changed(right.state, padded_windows=False)
  assert error(golden.TINY, number, wrong([clips[number]], 1)[0]) > 3 * TOLERANCE


SMALL = WhisperConfig(num_mel_bins=16, d_model=32, layers=2, heads=2, ffn_dim=64)


def changed(**changes: object) -> WhisperConfig:
  return WhisperConfig(**{**SMALL.model_dump(), **changes})


def small_batch() -> tuple[jax.Array, jax.Array, jax.Array]:
  """One row of two windows: log-mel, frames, segments."""
  mel = jax.random.normal(jax.random.key(0), (1, 2, 25, 120, 16))
  ones = jnp.ones((1, 2, 25), jnp.int32)
  return mel, 120 * ones, ones


def loss_and_gradient(config: WhisperConfig):
  graph, state = nnx.split(WhisperEncoder(config, rngs=nnx.Rngs(params=0)))

  @jax.jit
  @jax.value_and_grad
  def run(state, *batch):
    # Squares do not cancel, so the digits of their sum are as good as those of the outputs.
    return (jnp.tanh(nnx.merge(graph, state)(*batch)) ** 2).sum()

  return run(state, *small_batch())


def test_gradient_reaches_every_parameter_and_rematerialising_changes_nothing():
  loss, gradient = loss_and_gradient(SMALL)
  again, recomputed = loss_and_gradient(changed(remat=True))
  unrolled, _ = loss_and_gradient(changed(unroll=True))
  np.testing.assert_allclose([again, unrolled], loss, rtol=1e-6)
  for path, leaf in nnx.to_flat_state(gradient):
    assert np.abs(leaf[...]).reshape(len(leaf[...]), -1).max(axis=1).min() > 0, path
  for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(recomputed), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 + 2e-6 * np.abs(a).max())


def test_bfloat16_stays_near_float32_and_keeps_float32_weights():
  model = WhisperEncoder(changed(dtype=jnp.bfloat16), rngs=nnx.Rngs(params=0))
  out = model(*small_batch())
  assert out.dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype("float32")}
  full = WhisperEncoder(SMALL, rngs=nnx.Rngs(params=0))(*small_batch())
  assert 0 < np.abs(np.asarray(out, np.float32) - np.asarray(full)).mean() < 0.03


@pytest.mark.parametrize("stack", [4, 5])
def test_stacked_positions_stand_side_by_side(stack: int):
  plain = WhisperEncoder(SMALL, rngs=nnx.Rngs(params=0))
  stacked = WhisperEncoder(changed(stack=stack), rngs=nnx.Rngs(params=0))
  config = stacked.config
  want = np.asarray(plain(*small_batch())).reshape(1, 2, POSITIONS // stack, -1)
  np.testing.assert_array_equal(stacked(*small_batch()), want)
  assert want.shape[2:] == (config.geometry.tokens_per_window, config.out_dim)
  frames = np.arange(3_001)
  np.testing.assert_array_equal(config.geometry.tokens(frames), -(-frames // 2) // stack)


@pytest.mark.parametrize("stack", [1, 2, 5, 6, 60])
def test_the_shortest_clip_has_a_token(stack: int):
  geometry = changed(stack=stack).geometry
  assert geometry.num_tokens(1) >= 1
  assert geometry.min_samples >= 2 * stack * HOP or stack <= 5
  assert geometry.window_seconds == 30


def test_parameters_are_named_stacked_and_sharded_as_maxtext_shards_its_own():
  state = nnx.to_flat_state(nnx.state(WhisperEncoder(SMALL, rngs=nnx.Rngs(params=0))))
  axes = {".".join(path): (leaf.shape, leaf.get_metadata("out_sharding")) for path, leaf in state}
  assert axes["conv2.kernel"] == ((3, 32, 32), (None,) * 3)
  assert axes["embed_positions"] == ((POSITIONS, 32), (None, "embed"))
  assert axes["layers.self_attn.q_proj.kernel"] == ((2, 32, 32), ("layers", "embed", "heads"))
  assert axes["layers.fc1.kernel"] == ((2, 32, 64), ("layers", "embed", "mlp"))
  assert "layers.self_attn.k_proj.bias" not in axes
  assert len(axes) == 5 + 15 + 2


def test_a_plan_counts_the_matrix_products():
  """By hand for Whisper small: 24 GFLOP of convolutions, 28 GFLOP a layer."""
  small = WhisperConfig(d_model=768, layers=12, heads=12, ffn_dim=3072)
  convolutions = 2 * 3_000 * 240 * 768 + 2 * 1_500 * 2_304 * 768
  layer = 2 * 1_500 * 12 * 768**2 + 4 * 1_500**2 * 768
  assert small.flops_per_window() == convolutions + 12 * layer
  assert small.layer_overrides(1) == [
    'encoder={"num_mel_bins": 80, "layers": 1, "d_model": 768, "heads": 12, "ffn_dim": 3072,'
    ' "stack": 1, "positions": 1500}'
  ]


def test_a_stack_that_does_not_divide_a_chunk_is_refused():
  with pytest.raises(ValueError, match="stack=8 must divide 60, the positions of"):
    changed(stack=8)


def test_is_registered():
  assert ENCODERS["whisper"] is WhisperEncoder
