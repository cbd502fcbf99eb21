"""The encoder and its projector against transformers' Qwen3-ASR, in every packing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.parity.references import ours, reference
from benchmarks.parity.references.qwen3_asr import REFERENCE
from maxtext_ext.audio.mel import log_mel
from maxtext_ext.input.windows import cut_chunks, frames_of_chunks
from maxtext_ext.models.encoders import ENCODERS, qwen3_audio
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY, Qwen3AudioConfig, Qwen3AudioEncoder
from maxtext_ext.models.projector import MLPProjector, ProjectorConfig

CHUNKS, FRAMES = GEOMETRY.chunks_per_window, GEOMETRY.frames_per_chunk
TOKENS = GEOMETRY.tokens_per_chunk  # of a chunk
TOLERANCE = 1e-4  # of the largest value
WINDOWS = 23  # of a row, enough for all clips; one shape, so it compiles once
CONFIG = Qwen3AudioConfig(
  num_mel_bins=REFERENCE.audio["num_mel_bins"],
  d_model=REFERENCE.audio["d_model"],
  layers=REFERENCE.audio["encoder_layers"],
  heads=REFERENCE.audio["encoder_attention_heads"],
  ffn_dim=REFERENCE.audio["encoder_ffn_dim"],
  downsample_channels=REFERENCE.audio["downsample_hidden_size"],
)


class Speech(nnx.Module):
  """The encoder and the projector under the names they have in the whole model."""

  def __init__(self, config: Qwen3AudioConfig):
    rngs = nnx.Rngs(params=0)
    self.speech_encoder = Qwen3AudioEncoder(config, rngs=rngs)
    projector = ProjectorConfig(in_dim=config.d_model, out_dim=REFERENCE.audio["output_dim"])
    self.projector = MLPProjector(projector, rngs=rngs)

  def __call__(self, samples, frames, segment):
    mel = log_mel(samples, frames, segment, self.speech_encoder.config.num_mel_bins)
    return self.projector(self.speech_encoder(mel, frames, segment))


def reference_model(config: Qwen3AudioConfig = CONFIG) -> Speech:
  model = Speech(config)
  state = nnx.state(model)
  nnx.replace_by_pure_dict(state, ours.speech_params(REFERENCE, REFERENCE.weights()))
  nnx.update(model, state)
  return model


@functools.cache
def clips() -> list[np.ndarray]:
  return REFERENCE.clips()


@functools.cache
def outputs() -> dict[str, np.ndarray]:
  return REFERENCE.outputs()


def pack(numbers: list[int], windows: int, rng: np.random.Generator | None, garbage: float = 0.0):
  """One row of clips: full windows alone, tails together where they fit.

  With `rng`, windows stand in any order and chunks in any place of theirs. Returns the row's arrays
  and, for each clip, the row's chunk places of its chunks in order.
  """
  groups, places = [], [[] for _ in numbers]  # a group: the (clip, chunk) of one window
  for clip, number in enumerate(numbers):
    chunks = [(clip, chunk) for chunk in range(len(cut_chunks(clips()[number], GEOMETRY)))]
    full = len(chunks) // CHUNKS * CHUNKS
    groups += [chunks[i : i + CHUNKS] for i in range(0, full, CHUNKS)]
    tail = chunks[full:]
    fits = [g for g in groups if len(g) + len(tail) <= CHUNKS]
    if tail and fits:
      fits[0].extend(tail)
    elif tail:
      groups.append(tail)
  assert len(groups) <= windows
  order = rng.permutation(windows) if rng else np.arange(windows)
  samples = np.full((windows * CHUNKS, GEOMETRY.chunk_samples), garbage, np.float32)
  frames, segment = np.zeros((2, len(samples)), np.int32)
  for window, group in zip(order, groups, strict=False):
    slots = rng.permutation(CHUNKS) if rng else np.arange(CHUNKS)
    for slot, (clip, chunk) in zip(slots, group, strict=False):
      place = window * CHUNKS + slot
      audio = clips()[numbers[clip]]
      samples[place] = cut_chunks(audio, GEOMETRY)[chunk]
      frames[place] = frames_of_chunks(GEOMETRY.num_frames(audio.size), GEOMETRY)[chunk]
      if frames[place] < FRAMES:
        samples[place, frames[place] * 160 + 400 :] = garbage
      segment[place] = clip + 1
      places[clip].append((chunk, place))
  grid = (1, windows, CHUNKS)
  arrays = samples.reshape(*grid, -1), frames.reshape(grid), segment.reshape(grid)
  return tuple(jnp.asarray(a) for a in arrays), [[p for _, p in sorted(x)] for x in places]


@functools.cache
def compiled():
  graph, state = nnx.split(reference_model())
  return jax.jit(lambda *batch: nnx.merge(graph, state)(*batch))


def tokens_of(out_BWAD: jax.Array, numbers: list[int], places: list[list[int]]) -> list[np.ndarray]:
  """Each clip's valid tokens, in order."""
  by_chunk = np.asarray(out_BWAD).reshape(-1, TOKENS, out_BWAD.shape[-1])
  return [
    by_chunk[place].reshape(-1, by_chunk.shape[-1])[: GEOMETRY.num_tokens(clips()[n].size)]
    for n, place in zip(numbers, places, strict=True)
  ]


def error(got: list[np.ndarray], numbers: list[int]) -> float:
  """The largest difference to the reference, as a part of its largest value."""
  worst = 0.0
  for tokens, number in zip(got, numbers, strict=True):
    want = outputs()[f"tokens_{number}"]
    assert len(tokens) == outputs()["token_counts"][number]
    stored = tokens[reference.stored_tokens(number, len(tokens))]
    worst = max(worst, np.abs(stored - want).max() / np.abs(want).max())
  return worst


@pytest.mark.parametrize("number", range(len(REFERENCE.seconds)))
def test_a_clip_alone_equals_the_reference(number):
  batch, places = pack([number], WINDOWS, rng=None)
  assert error(tokens_of(compiled()(*batch), [number], places), [number]) < TOLERANCE


@pytest.mark.parametrize(
  ("seed", "garbage"), [(None, 0.0), (0, 0.0), (1, 9.0), (2, np.nan), (3, -1.0)]
)
def test_all_clips_in_one_row_equal_the_reference(seed, garbage):
  """Eleven clips of 0.02 s to 100 s, tails sharing windows, in any order; garbage as padding."""
  rng = None if seed is None else np.random.default_rng(seed)
  numbers = list(range(len(clips()))) if rng is None else rng.permutation(len(clips())).tolist()
  batch, places = pack(numbers, WINDOWS, rng, garbage)
  out = compiled()(*batch)
  assert np.isfinite(out).all(), "what is no token must be finite too: gradients pass through it"
  assert error(tokens_of(out, numbers, places), numbers) < TOLERANCE


def test_a_clip_does_not_depend_on_its_neighbours():
  """Not the reference's tolerance but rounding: the 5.3 s clip among others and alone."""
  alone, places = pack([4], WINDOWS, None)
  (want,) = tokens_of(compiled()(*alone), [4], places)
  for seed in range(3):
    numbers = [0, 4, 2, 7]
    batch, places = pack(numbers, WINDOWS, np.random.default_rng(seed), garbage=3.0)
    got = tokens_of(compiled()(*batch), numbers, places)[1]
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * np.abs(want).max())


def chunk_wise(mask_BWAA: jax.Array) -> jax.Array:
  chunk = jnp.arange(GEOMETRY.tokens_per_window) // TOKENS
  return mask_BWAA & (chunk[:, None] == chunk)


MISTAKES = {
  "tanh GELU": ("gelu", lambda right: jax.nn.gelu),
  "positions": ("MAX_TIMESCALE", lambda right: 9_000.0),
  "attention across clips": ("attention_mask", lambda right: lambda f, s: right(f, jnp.sign(s))),
  "attention in a chunk": ("attention_mask", lambda right: lambda f, s: chunk_wise(right(f, s))),
  "attention to padding": (
    "attention_mask",
    lambda right: lambda f, s: right(FRAMES * jnp.sign(f), s),
  ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_reference_shows_a_small_mistake(mistake, monkeypatch):
  """The tolerance is worth something only where errors like these exceed it."""
  name, make_wrong = MISTAKES[mistake]
  monkeypatch.setattr(qwen3_audio, name, make_wrong(getattr(qwen3_audio, name)))
  numbers = [0, 2, 4, 7]
  batch, places = pack(numbers, 4, np.random.default_rng(0))
  got = tokens_of(reference_model()(*batch), numbers, places)
  assert error(got, numbers) > 3 * TOLERANCE


def small_batch() -> tuple[jax.Array, jax.Array, jax.Array]:
  """Two rows of two windows: log-mel, frames, segments; one window is empty."""
  mel = jax.random.normal(jax.random.key(0), (2, 2, CHUNKS, FRAMES, 80))
  frames = jnp.full((2, 2, CHUNKS), 100).at[0, 1, 3].set(37).at[1, 1].set(0)
  return mel, frames, jnp.sign(frames)


SMALL = Qwen3AudioConfig(
  num_mel_bins=80, d_model=32, layers=3, heads=4, ffn_dim=64, downsample_channels=6
)


def changed(config: Qwen3AudioConfig, **changes: object) -> Qwen3AudioConfig:
  return Qwen3AudioConfig(**{**config.model_dump(), **changes})


def loss_and_gradient(config: Qwen3AudioConfig):
  graph, state = nnx.split(Qwen3AudioEncoder(config, rngs=nnx.Rngs(params=0)))

  @jax.jit
  @jax.value_and_grad
  def run(state, mel, frames, segment):
    out = nnx.merge(graph, state)(mel, frames, segment)
    valid = jnp.arange(TOKENS) < GEOMETRY.tokens(frames)[..., None]
    # Squares do not cancel, so the digits of their sum are as good as those of the outputs.
    return (jnp.tanh(out) ** 2 * valid.reshape(*out.shape[:3], 1)).sum()

  return run(state, *small_batch())


def test_gradient_reaches_every_parameter_and_rematerialising_changes_nothing():
  loss, gradient = loss_and_gradient(SMALL)
  again, recomputed = loss_and_gradient(changed(SMALL, remat=True))
  assert np.isclose(loss, again, rtol=1e-6)
  for path, leaf in nnx.to_flat_state(gradient):
    if path[-2:] != ("k_proj", "bias"):  # softmax does not see what is added to all scores
      assert np.abs(leaf[...]).reshape(len(leaf[...]), -1).max(axis=1).min() > 0, path
  for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(recomputed), strict=True):
    # Convolutions are recomputed window by window, and their gradients added in another order.
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 + 2e-6 * np.abs(a).max())


def test_bfloat16_stays_near_float32_and_keeps_float32_weights():
  half = changed(SMALL, dtype=jnp.bfloat16)
  model = Qwen3AudioEncoder(half, rngs=nnx.Rngs(params=0))
  out = model(*small_batch())
  assert out.dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype("float32")}
  full = Qwen3AudioEncoder(SMALL, rngs=nnx.Rngs(params=0))(*small_batch())
  valid = np.asarray(out, np.float32)[0, 0] - np.asarray(full)[0, 0]
  assert 0 < np.abs(valid).mean() < 0.03


def test_parameters_are_named_stacked_and_sharded_as_maxtext_shards_its_own():
  state = nnx.to_flat_state(nnx.state(Qwen3AudioEncoder(SMALL, rngs=nnx.Rngs(params=0))))
  axes = {".".join(path): (leaf.shape, leaf.get_metadata("out_sharding")) for path, leaf in state}
  assert axes["conv2d2.kernel"] == ((3, 3, 6, 6), (None,) * 4)
  assert axes["conv_out.kernel"] == ((60, 32), ("mlp", "embed"))
  assert axes["layers.self_attn.q_proj.kernel"] == ((3, 32, 32), ("layers", "embed", "heads"))
  assert axes["layers.self_attn.out_proj.kernel"] == ((3, 32, 32), ("layers", "heads", "embed"))
  assert axes["layers.fc1.kernel"] == ((3, 32, 64), ("layers", "embed", "mlp"))
  assert axes["layers.fc2.bias"] == ((3, 32), ("layers", "embed"))
  assert axes["layers.final_layer_norm.scale"] == ((3, 32), ("layers", "norm"))
  assert axes["ln_post.bias"] == ((32,), ("norm",))
  assert len(axes) == 7 + 16 + 2


def test_new_weights_neither_vanish_nor_explode():
  config = changed(SMALL, d_model=64, ffn_dim=256, layers=4, downsample_channels=24)
  model = Qwen3AudioEncoder(config, rngs=nnx.Rngs(params=0))
  stacked = nnx.state(model.layers)
  spread = {path: leaf[...].std() for path, leaf in nnx.to_flat_state(stacked)}
  assert np.isclose(spread["self_attn", "q_proj", "kernel"], 64**-0.5, rtol=0.05)
  assert np.isclose(spread["self_attn", "out_proj", "kernel"], (64 * 8) ** -0.5, rtol=0.05)
  assert np.isclose(spread["fc2", "kernel"], (256 * 8) ** -0.5, rtol=0.05)
  assert np.isclose(model.conv2d3.kernel[...].std(), (2 / (9 * 24)) ** 0.5, rtol=0.1)
  kernels = stacked["fc1"]["kernel"][...]
  assert not np.array_equal(kernels[0], kernels[1]), "every layer is drawn by itself"
  x = model._downsample(small_batch()[0])
  assert 0.3 < x.std() < 3.0


def test_heads_that_do_not_divide_the_width_are_refused():
  with pytest.raises(ValueError, match="d_model=32 must be even and a multiple of heads=5"):
    changed(SMALL, heads=5)


def test_is_registered():
  assert ENCODERS["qwen3_audio"] is Qwen3AudioEncoder
