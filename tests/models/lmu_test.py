"""Legendre memories against float64, in all forms; layers against keras-lmu."""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.models.lmu import (
  LMU,
  LMUFFT,
  LegendreMemory,
  LMUConfig,
  by_channel,
  discretise,
  impulse_response,
)

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "lmu_keras.npz"
MEMORIES = [(1, 3.0), (6, 784.0), (16, 20.0), (64, 100.0), (256, 100.0)]  # order, theta
LENGTHS = (1, 37, 700)


def noise(*shape: int, seed: int = 0) -> jax.Array:
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def in_float64(memory: LegendreMemory, u_BTR: jax.Array) -> np.ndarray:
  """The recurrence, as it is written."""
  a, b = discretise(memory.order, memory.theta)
  m_BRQ, states = np.zeros((u_BTR.shape[0], u_BTR.shape[2], memory.order)), []
  for u_BR in np.asarray(u_BTR, np.float64).swapaxes(0, 1):
    m_BRQ = m_BRQ @ a.T + u_BR[..., None] * b
    states.append(m_BRQ)
  return np.stack(states, axis=1)


def assert_close(got: Any, want: Any) -> None:
  want = np.asarray(want)
  np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * max(np.abs(want).max(), 1e-3))


@pytest.mark.parametrize(("order", "theta"), MEMORIES)
def test_the_matrices_are_scipys_of_the_published_system(order: int, theta: float):
  q = np.arange(order)
  a = [
    [(2 * i + 1) / theta * (-1 if i < j else (-1.0) ** (i - j + 1)) for j in range(order)]
    for i in range(order)
  ]
  b = ((2 * q + 1) * (-1.0) ** q / theta)[:, None]
  want_a, want_b, *_ = scipy.signal.cont2discrete(
    (np.asarray(a), b, np.ones((1, order)), np.zeros((1, 1))), 1.0, method="zoh"
  )
  got_a, got_b = discretise(order, theta)
  np.testing.assert_allclose(got_a, want_a, rtol=0, atol=1e-12)
  np.testing.assert_allclose(got_b, want_b[:, 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("order", "theta"), MEMORIES)
def test_all_forms_are_the_recurrence_at_any_length(order: int, theta: float):
  memory = LegendreMemory(order, theta)
  u_BTR = noise(2, LENGTHS[-1], 3)
  want = in_float64(memory, u_BTR)
  for steps in LENGTHS:
    u, states = u_BTR[:, :steps], want[:, :steps]
    assert_close(memory.fft(u), states)
    assert_close(memory.last(u), states[:, -1])
  assert_close(memory.scan(u_BTR), want)


@settings(max_examples=20, deadline=None)
@given(
  st.lists(st.sampled_from([1, 6, 33]), min_size=2, max_size=6), st.integers(0, 9), st.booleans()
)
def test_pieces_with_their_state_are_the_whole(pieces: list[int], seed: int, scan: bool):
  memory = LegendreMemory(16, 20.0)
  u_BTR = noise(2, sum(pieces), 3, seed=seed)
  m_BRQ, states, start = None, [], 0
  for piece in pieces:
    u = u_BTR[:, start : start + piece]
    states.append(memory.scan(u, m_BRQ) if scan else memory.fft(u, m_BRQ))
    m_BRQ, start = states[-1][:, -1], start + piece
  assert_close(jnp.concatenate(states, axis=1), in_float64(memory, u_BTR))


def test_gradients_of_all_forms_are_equal():
  memory = LegendreMemory(64, 100.0)
  u_BTR, m_BRQ = noise(2, 300, 2), noise(2, 2, 64)

  def gradients(states: Any) -> Any:
    return jax.jit(jax.grad(lambda u, m: jnp.sum(jnp.sin(states(u, m))), argnums=(0, 1)))(
      u_BTR, m_BRQ
    )

  def in_two(u: jax.Array, m: jax.Array) -> jax.Array:
    first = memory.fft(u[:, :130], m)
    return jnp.concatenate([first, memory.fft(u[:, 130:], first[:, -1])], axis=1)

  want = gradients(memory.scan)
  for states in (memory.fft, in_two):
    jax.tree.map(assert_close, gradients(states), want)
  last = jax.grad(lambda u: jnp.sum(jnp.sin(memory.last(u))))(u_BTR)
  assert_close(last, jax.grad(lambda u: jnp.sum(jnp.sin(memory.fft(u)[:, -1])))(u_BTR))


@pytest.mark.parametrize(("order", "thetas"), [(8, 6.0), (64, 2.7), (256, 2.0)])
def test_the_response_ends_a_few_thetas_after_its_impulse(order: int, thetas: float):
  theta = 100.0
  response = impulse_response(order, theta, 10_000)
  assert len(response) < thetas * theta
  a, b = discretise(order, theta)
  direct = np.linalg.matrix_power(a, len(response)) @ b
  assert np.abs(direct).max() < 1e-8 * np.abs(response).max()
  np.testing.assert_allclose(response[150], np.linalg.matrix_power(a, 150) @ b, atol=1e-12)


def layer_of(kind: Any, **keys: Any) -> Any:
  config = LMUConfig(**{"inputs": 5, "hidden": 8, "memory": 16, "theta": 20.0, **keys})
  layer = kind(config, rngs=nnx.Rngs(params=0))
  rng = np.random.default_rng(0)
  state = nnx.state(layer)
  nnx.update(layer, jax.tree.map(lambda x: x + 0.1 * rng.normal(size=x.shape), state))
  return layer


@pytest.mark.parametrize("kind", [LMU, LMUFFT])
def test_a_layer_goes_on_from_its_state(kind: Any):
  layer, x_BTI = layer_of(kind, channels=2), noise(3, 90, 5)
  whole, last = layer(x_BTI)
  state, outs = None, []
  for piece in jnp.split(x_BTI, (1, 40), axis=1):
    out, state = layer(piece, state)
    outs.append(out)
  assert_close(jnp.concatenate(outs, axis=1), whole)
  jax.tree.map(assert_close, state, last)


def test_the_parallel_layer_in_its_forms():
  layer, x_BTI = layer_of(LMUFFT, channels=2), noise(3, 90, 5)
  scanned = layer_of(LMUFFT, channels=2)
  scanned.form = "scan"
  jax.tree.map(assert_close, scanned(x_BTI), layer(x_BTI))
  assert_close(layer.last(x_BTI), layer(x_BTI)[0][:, -1])


@functools.cache
def golden() -> dict[str, np.ndarray]:
  with np.load(GOLDEN) as arrays:
    return dict(arrays)


@pytest.mark.parametrize("steps", [1, 37, 200])
def test_layers_are_those_of_keras_lmu(steps: int):
  saved, cell = golden(), "lmu/lmu/lmu_cell"
  x_BTI = jnp.asarray(saved["x"][:, :steps])
  kernel, hidden = saved[f"{cell}/kernel"], saved[f"{cell}/simple_rnn_cell/kernel"]
  inputs, channels = x_BTI.shape[2], kernel.shape[1]
  units = len(kernel) - inputs
  states = len(hidden) - inputs
  config = LMUConfig(
    inputs=inputs,
    hidden=units,
    memory=states // channels,
    theta=float(saved["theta"]),
    channels=channels,
  )
  layer = LMU(config, rngs=nnx.Rngs(params=0))
  weights = {
    "e_x": kernel[:inputs],
    "e_h": kernel[inputs:],
    "e_m": saved[f"{cell}/recurrent_kernel"],
    "w_m": hidden[:states],
    "w_x": hidden[states:],
    "w_h": saved[f"{cell}/simple_rnn_cell/recurrent_kernel"],
  }
  nnx.update(layer, {name: nnx.Param(weight) for name, weight in weights.items()})
  assert_close(layer(x_BTI)[0], saved[f"lmu/out/{steps}"])
  memories = layer.memory.fft(x_BTI @ saved["memory/kernel"])
  assert_close(by_channel(memories), saved[f"memory/out/{steps}"])
