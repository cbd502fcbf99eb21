"""The LMU encoder against numpy in float64, and its independence of padding."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend.core import jaxprs_in_params
from scipy.special import erf, softmax

from maxtext_ext.models.encoders.lmu import FRAMES_PER_CHUNK, LMUEncoder, LMUEncoderConfig
from maxtext_ext.models.lmu import discretise

MELS, WIDTH, HEADS, MEMORY, CHANNELS = 12, 16, 4, 6, 3
LETTERS = 29


def config(**keys: Any) -> LMUEncoderConfig:
  shape = {"num_mel_bins": MELS, "layers": 2, "width": WIDTH, "heads": HEADS, "memory": MEMORY}
  return LMUEncoderConfig(**{**shape, "theta": 20.0, "channels": CHANNELS, **keys})


@functools.cache
def model(**keys: Any) -> LMUEncoder:
  """An encoder with biases and scales that are not zero and one."""
  encoder = LMUEncoder(config(**keys), rngs=nnx.Rngs(params=0))
  rng = np.random.default_rng(0)
  state = nnx.state(encoder)
  nnx.update(encoder, jax.tree.map(lambda x: x + 0.1 * rng.normal(size=x.shape), state))
  return encoder


@functools.cache
def compiled(**keys: Any) -> Any:
  graph, state = nnx.split(model(**keys))
  return jax.jit(lambda *batch, key=None: nnx.merge(graph, state)(*batch, key=key))


def batch(frames: list[int], seconds: int, padding: float = 0.0) -> list[jax.Array]:
  """Rows of so many frames of noise; the same noise whatever the length of the rows."""
  chunk = FRAMES_PER_CHUNK
  windows = -(-100 * seconds // chunk)
  mel = np.full((len(frames), windows * chunk, MELS), padding, np.float32)
  for row, count in enumerate(frames):
    mel[row, :count] = np.random.default_rng(count).normal(size=(count, MELS))
  counts = np.clip(np.asarray(frames)[:, None] - chunk * np.arange(windows), 0, chunk)
  shape = (len(frames), windows, 1)
  mel, chunks = mel.reshape(*shape, chunk, MELS), counts.reshape(shape)
  return [jnp.asarray(mel), jnp.asarray(chunks), jnp.asarray(chunks > 0, jnp.int32)]


def real_tokens(out_BWAD: jax.Array, frames: list[int], **keys: Any) -> list[np.ndarray]:
  """The tokens of each row's clip."""
  rows = np.asarray(out_BWAD).reshape(len(frames), -1, WIDTH)
  tokens = config(**keys).geometry.tokens
  return [row[: tokens(count)] for row, count in zip(rows, frames, strict=True)]


def layer_norm(norm: Any, x_TD: np.ndarray) -> np.ndarray:
  x_TD = (x_TD - x_TD.mean(1, keepdims=True)) / np.sqrt(x_TD.var(1, keepdims=True) + 1e-5)
  return x_TD * norm["scale"] + norm["bias"]


def linear(layer: Any, x: np.ndarray) -> np.ndarray:
  return x @ layer["kernel"] + layer["bias"]


def convolve(conv: Any, x_FMI: np.ndarray) -> np.ndarray:
  """3x3, stride 2, padding 1, exact GELU; the kernel is mel, time, in, out."""
  frames, mels = (-(-size // 2) for size in x_FMI.shape[:2])
  padded = np.pad(x_FMI, ((1, 2), (1, 2), (0, 0)))
  y = conv["bias"] + sum(
    padded[f : f + 2 * frames : 2, m : m + 2 * mels : 2] @ conv["kernel"][m, f]
    for m in range(3)
    for f in range(3)
  )
  return y * (1 + erf(y / np.sqrt(2))) / 2


def attend(attn: Any, x_TD: np.ndarray) -> np.ndarray:
  heads = [
    linear(attn[name], x_TD).reshape(len(x_TD), HEADS, -1)
    for name in ("q_proj", "k_proj", "v_proj")
  ]
  q_TNH, k_TNH, v_TNH = heads
  scores_NTS = np.einsum("TNH,SNH->NTS", q_TNH, k_TNH) / np.sqrt(WIDTH // HEADS)
  out_TNH = np.einsum("NTS,SNH->TNH", softmax(scores_NTS, axis=-1), v_TNH)
  return linear(attn["out_proj"], out_TNH.reshape(x_TD.shape))


def remember(lmu: Any, x_TD: np.ndarray, channels: int) -> np.ndarray:
  """Both kinds of layer, step by step."""
  a, b = discretise(MEMORY, 20.0)
  m_RQ, h_H, out = np.zeros((channels, MEMORY)), np.zeros(WIDTH), []
  for x_D in x_TD:
    if "e_x" in lmu:
      u_R = x_D @ lmu["e_x"] + h_H @ lmu["e_h"] + m_RQ.ravel() @ lmu["e_m"]
    else:
      u_R = np.maximum(x_D @ lmu["w_u"] + lmu["b_u"], 0)
    m_RQ = m_RQ @ a.T + u_R[:, None] * b
    if "e_x" in lmu:
      h_H = np.tanh(x_D @ lmu["w_x"] + h_H @ lmu["w_h"] + m_RQ.ravel() @ lmu["w_m"])
    else:
      h_H = np.maximum(m_RQ.ravel() @ lmu["w_m"] + x_D @ lmu["w_x"] + lmu["b_h"], 0)
    out.append(h_H)
  return np.stack(out)


def reference(mel_FM: np.ndarray, **keys: Any) -> np.ndarray:
  """Tokens of one clip alone, in float64."""
  weights = jax.tree.map(
    lambda x: np.asarray(x, np.float64), nnx.to_pure_dict(nnx.state(model(**keys)))
  )
  x = np.asarray(mel_FM, np.float64)[..., None]
  for number in range(config(**keys).halvings):
    x = convolve(weights["convs"][number], x)
  x_TD = linear(weights["proj_in"], x.reshape(len(x), -1))
  for number in range(config(**keys).layers):
    layer = jax.tree.map(lambda x, number=number: x[number], weights["layers"])
    x_TD = layer_norm(layer["self_attn_layer_norm"], x_TD + attend(layer["self_attn"], x_TD))
    x_TD = remember(layer["lmu"], x_TD, config(**keys).memory_d)
    x_TD = layer_norm(layer["final_layer_norm"], x_TD)
  return linear(weights["proj_out"], x_TD)


CASES = [
  {"form": "recurrent", "subsampling": 1},
  {"form": "recurrent", "subsampling": 4, "memory_d": 3},
  {"form": "fft", "subsampling": 2, "memory_d": 2},
]


@pytest.mark.parametrize("keys", CASES, ids=lambda keys: f"{keys['form']}{keys['subsampling']}")
def test_tokens_are_those_of_each_clip_alone(keys: dict[str, Any]):
  frames = [300, 1, 100, 187, 202, 33]
  out = compiled(**keys)(*batch(frames, 4, padding=1e3))
  assert np.isfinite(out).all()
  for count, tokens in zip(frames, real_tokens(out, frames, **keys), strict=True):
    want = reference(np.random.default_rng(count).normal(size=(count, MELS)), **keys)
    assert len(tokens) == len(want)
    np.testing.assert_allclose(tokens, want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_gradients_do_not_depend_on_padding():
  graph, state = nnx.split(model(form="fft"))

  def gradients(seconds: int, padding: float) -> list[np.ndarray]:
    frames = [187, 60]
    mel, *chunks = batch(frames, seconds, padding)

    def loss(mel: jax.Array) -> jax.Array:
      out = nnx.merge(graph, state)(mel, *chunks).reshape(2, -1, WIDTH)
      return jnp.sum(jnp.sin(out[0, :94])) + jnp.sum(jnp.sin(out[1, :30]))

    found = np.asarray(jax.jit(jax.grad(loss))(mel)).reshape(2, -1, MELS)
    assert not found[0, 187:].any()
    assert not found[1, 60:].any()
    return [found[0, :187], found[1, :60]]

  for short, long in zip(gradients(2, 0.0), gradients(5, 1e3), strict=True):
    np.testing.assert_allclose(short, long, rtol=0, atol=1e-5 * np.abs(long).max())


def test_dropout_follows_its_key_and_only_that():
  run, rows = compiled(form="fft", dropout=0.5), batch([200], 2)
  plain = run(*rows)
  np.testing.assert_array_equal(plain, compiled(form="fft", dropout=0.0)(*rows))
  dropped = run(*rows, key=jax.random.key(1))
  np.testing.assert_array_equal(dropped, run(*rows, key=jax.random.key(1)))
  assert np.abs(dropped - run(*rows, key=jax.random.key(2))).max() > 0.1
  assert np.abs(dropped - plain).max() > 0.1


def test_remat_and_unrolled_layers_change_nothing():
  plain = compiled(form="fft")(*batch([200, 50], 2))
  np.testing.assert_allclose(
    plain, compiled(form="fft", remat=True, unroll=True)(*batch([200, 50], 2)), rtol=0, atol=1e-5
  )


@pytest.mark.parametrize("form", ["recurrent", "fft"])
def test_bfloat16_stays_near(form: str):
  rows = batch([300, 120], 3)
  exact, rounded = compiled(form=form)(*rows), compiled(form=form, dtype=jnp.bfloat16)(*rows)
  assert rounded.dtype == jnp.bfloat16
  assert np.abs(exact - rounded).max() < 0.1 * np.abs(exact).max()


def test_the_published_setting_has_seven_million_parameters():
  shape = config(
    num_mel_bins=80, layers=4, width=512, heads=8, memory=256, subsampling=1, form="recurrent"
  )
  made = nnx.eval_shape(lambda: LMUEncoder(shape, rngs=nnx.Rngs(params=0)))
  parameters = sum(x.size for x in jax.tree.leaves(nnx.state(made, nnx.Param)))
  assert parameters + (512 + 1) * LETTERS == 7_156_253


@pytest.mark.parametrize("keys", CASES, ids=lambda keys: f"{keys['form']}{keys['subsampling']}")
def test_flops_are_those_of_the_matrix_products(keys: dict[str, Any]):
  shape = config(layers=1, width=64, memory=32, unroll=True, **keys)
  made = nnx.eval_shape(lambda: LMUEncoder(shape, rngs=nnx.Rngs(params=0)))
  graph, state = nnx.split(made)
  jaxpr = jax.make_jaxpr(lambda state, *rows: nnx.merge(graph, state)(*rows))(
    state, *(x[:, :5] for x in batch([100], 1))
  )
  assert matmul_flops(jaxpr.jaxpr) == pytest.approx(shape.flops_per_row(5), rel=1e-9)
  assert shape.flops_per_window() == shape.flops_per_row(1) < shape.flops_per_row(5) / 5


def matmul_flops(jaxpr: Any) -> float:
  """FLOPs of products and convolutions, those in loops by the number of their steps."""
  total = 0.0
  for step in jaxpr.eqns:
    shapes = [x.aval.shape for x in step.invars]
    outputs = np.prod(step.outvars[0].aval.shape)
    if step.primitive.name == "dot_general":
      contracted = step.params["dimension_numbers"][0][0]
      total += 2 * outputs * np.prod([shapes[0][axis] for axis in contracted])
    elif step.primitive.name == "conv_general_dilated":
      total += 2 * outputs * np.prod(shapes[1][:3])
    times = step.params["length"] if step.primitive.name == "scan" else 1
    total += times * sum(matmul_flops(inner) for inner in jaxprs_in_params(step.params))
  return total
