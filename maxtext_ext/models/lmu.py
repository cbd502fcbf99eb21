"""Legendre memory units (LMU): a sliding window of their input as Legendre coefficients.

A memory is the linear system m_t = A m_{t-1} + B u_t. Its coefficients approximate the last `theta`
steps of u, and each of several channels has a memory of its own. Source: Voelker et al., Legendre
Memory Units (NeurIPS 2019); the parallel form: Chilkuri and Eliasmith, PMLR 139 (2021).

Axes: B rows, T steps, I inputs, R channels, Q coefficients of a channel, H hidden units. Weights
that read memories see channel by channel, [R * Q, H], as those of pytorch-lmu and keras-lmu do.
"""

import functools
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
import scipy.linalg
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Complex, Float

from maxtext_ext.models.layers import fan_in_normal, metadata

NEGLIGIBLE = 1e-9  # part of the impulse response's peak
HIGHEST = lax.Precision.HIGHEST  # memories add up errors, so no TF32 or bfloat16 products


@functools.lru_cache
def discretise(order: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
  """Computes float64 A [Q, Q] and B [Q] of a memory by zero-order hold.

  Args:
    order: Q, coefficients.
    theta: steps that they describe.
  """
  q = np.arange(order)
  i, j = q[:, None], q
  scale = (2 * i + 1) / theta
  system = np.zeros((order + 1, order + 1))
  system[:order, :order] = scale * np.where(i < j, -1.0, (-1.0) ** (i - j + 1))
  system[:order, order:] = scale * (-1.0) ** i
  held = scipy.linalg.expm(system)
  return held[:order, :order], held[:order, order]


@functools.lru_cache
def power(order: int, theta: float, exponent: int) -> np.ndarray:
  """Computes float64 A ** exponent [Q, Q]."""
  return np.linalg.matrix_power(discretise(order, theta)[0], exponent)


@functools.lru_cache
def impulse_response(order: int, theta: float, length: int) -> np.ndarray:
  """Computes float64 A**t B for t = 0 .. length - 1: [length, Q], or less.

  It falls to nothing after one to four thetas: what is behind its last value above NEGLIGIBLE is
  left out. A is applied by repeated squaring; its eigenvectors are of no use, for their condition
  number is 1e16.
  """
  response = discretise(order, theta)[1][None]
  while len(response) < length:
    response = np.concatenate([response, response @ power(order, theta, len(response)).T])
    size = np.abs(response).max(axis=1)
    kept = int(np.flatnonzero(size > NEGLIGIBLE * size.max())[-1]) + 1
    if kept < len(response):
      response = response[:kept]
      break
  return response[:length]


@dataclass(frozen=True)
class LegendreMemory:
  """The memory in forms that are equal but for rounding; it computes in float32.

  Attributes:
    order: Q, coefficients of a channel.
    theta: steps that they describe.
  """

  order: int
  theta: float

  def start(self, rows: int, channels: int) -> Float[Array, "B R Q"]:
    """Returns the state before the first step."""
    return jnp.zeros((rows, channels, self.order), jnp.float32)

  def step(self, m_BRQ: Float[Array, "B R Q"], u_BR: Float[Array, "B R"]) -> Float[Array, "B R Q"]:
    """Takes one step."""
    a, b = (jnp.asarray(x, jnp.float32) for x in discretise(self.order, self.theta))
    return jnp.matmul(m_BRQ, a.T, precision=HIGHEST) + u_BR[..., None] * b

  def scan(
    self, u_BTR: Float[Array, "B T R"], m_BRQ: Float[Array, "B R Q"] | None = None
  ) -> Float[Array, "B T R Q"]:
    """Computes the states step by step, from the state before the first."""
    rows, _, channels = u_BTR.shape
    start_BRQ = self.start(rows, channels) if m_BRQ is None else m_BRQ

    def step(m_BRQ: Array, u_BR: Array) -> tuple[Array, Array]:
      m_BRQ = self.step(m_BRQ, u_BR)
      return m_BRQ, m_BRQ

    u_TBR = jnp.swapaxes(u_BTR, 0, 1).astype(jnp.float32)
    return jnp.swapaxes(lax.scan(step, start_BRQ, u_TBR)[1], 0, 1)

  def fft(
    self, u_BTR: Float[Array, "B T R"], m_BRQ: Float[Array, "B R Q"] | None = None
  ) -> Float[Array, "B T R Q"]:
    """Computes all states at once, by a Fourier transform of the length that these steps need."""
    steps = u_BTR.shape[1]
    m_BTRQ = _convolve(self, jnp.swapaxes(u_BTR, 1, 2).astype(jnp.float32))
    return m_BTRQ if m_BRQ is None else m_BTRQ + self.decay(m_BRQ, steps)

  def last(self, u_BTR: Float[Array, "B T R"]) -> Float[Array, "B R Q"]:
    """Computes the state after the last step alone, as one matrix product."""
    response_TQ = impulse_response(self.order, self.theta, u_BTR.shape[1])
    reversed_TQ = jnp.asarray(response_TQ[::-1], jnp.float32)
    u_BTR = u_BTR[:, -len(response_TQ) :].astype(jnp.float32)
    return jnp.einsum("BTR,TQ->BRQ", u_BTR, reversed_TQ, precision=HIGHEST)

  def decay(self, m_BRQ: Float[Array, "B R Q"], steps: int) -> Float[Array, "B T R Q"]:
    """Computes what is left of a state after each of so many steps without input."""
    a = jnp.asarray(discretise(self.order, self.theta)[0], jnp.float32)
    left_BTRQ = jnp.matmul(m_BRQ, a.T, precision=HIGHEST)[:, None]
    while (known := left_BTRQ.shape[1]) < steps:
      jump = jnp.asarray(power(self.order, self.theta, known), jnp.float32)
      later_BTRQ = jnp.matmul(left_BTRQ[:, : steps - known], jump.T, precision=HIGHEST)
      left_BTRQ = jnp.concatenate([left_BTRQ, later_BTRQ], axis=1)
    return left_BTRQ


def _spectrum(memory: LegendreMemory, steps: int) -> tuple[int, Complex[np.ndarray, "Q F"]]:
  """Returns a length that is fast and long enough, and the response's Fourier transform."""
  response_TQ = impulse_response(memory.order, memory.theta, steps)
  size = scipy.fft.next_fast_len(steps + len(response_TQ) - 1, real=True)
  return size, np.fft.rfft(response_TQ.T, size).astype(np.complex64)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolve(memory: LegendreMemory, u_BRT: Float[Array, "B R T"]) -> Float[Array, "B T R Q"]:
  """Convolves the inputs with the impulse response."""
  size, response_QF = _spectrum(memory, u_BRT.shape[2])
  m_BRQT = jnp.fft.irfft(jnp.fft.rfft(u_BRT, size)[:, :, None] * response_QF, size)
  return jnp.moveaxis(m_BRQT[..., : u_BRT.shape[2]], 3, 1)


def _convolve_forward(memory: LegendreMemory, u_BRT: Array) -> tuple[Array, None]:
  return _convolve(memory, u_BRT), None


def _convolve_backward(memory: LegendreMemory, _: None, d_BTRQ: Array) -> tuple[Array]:
  """Correlates with the response: jax's own takes twice the time."""
  steps = d_BTRQ.shape[1]
  size, response_QF = _spectrum(memory, steps)
  d_BRQF = jnp.fft.rfft(jnp.moveaxis(d_BTRQ, 1, 3), size)
  d_BRF = jnp.sum(d_BRQF * response_QF.conj(), axis=2)
  return (jnp.fft.irfft(d_BRF, size)[..., :steps],)


_convolve.defvjp(_convolve_forward, _convolve_backward)


def by_channel(m_BTRQ: Float[Array, "*N R Q"]) -> Float[Array, "*N S"]:
  """Joins the coefficients of all channels, as weights read them."""
  return m_BTRQ.reshape(*m_BTRQ.shape[:-2], -1)


@dataclass(frozen=True, kw_only=True)
class LMUConfig:
  """Shape and arithmetic of a layer.

  Attributes:
    inputs: I.
    hidden: H.
    memory: Q, coefficients of a channel; pytorch-lmu's `memory_size`, keras-lmu's `order`.
    theta: steps that they describe.
    channels: R; keras-lmu's `memory_d`, 1 in pytorch-lmu.
    dtype: of activations; memories are float32 always.
    weight_dtype: of parameters.
  """

  inputs: int
  hidden: int
  memory: int
  theta: float
  channels: int = 1
  dtype: DTypeLike = jnp.float32
  weight_dtype: DTypeLike = jnp.float32

  @property
  def states(self) -> int:
    """Coefficients of all channels."""
    return self.channels * self.memory


LMUState = tuple[Float[Array, "B H"], Float[Array, "B R Q"]]


class LMU(nnx.Module):
  """The recurrent layer, whose memory reads its hidden state.

  u = x e_x + h' e_h + m' e_m;  m = A m' + B u;  h = tanh(x w_x + h' w_h + m w_m), where h' and m'
  are those of the step before. Weights are [in, out]. Source: the paper, equations 4, 6 and 7.
  """

  def __init__(self, config: LMUConfig, *, rngs: nnx.Rngs) -> None:
    self.config = config
    inputs, hidden, states = config.inputs, config.hidden, config.states
    uniform = nnx.initializers.lecun_uniform()
    xavier = nnx.initializers.variance_scaling(1.0, "fan_avg", "normal")
    zeros = nnx.initializers.zeros

    def param(init: nnx.Initializer, *shape: int, out: str | None) -> nnx.Param:
      return nnx.Param(init(rngs.params(), shape, config.weight_dtype), **metadata("embed", out))

    self.e_x = param(uniform, inputs, config.channels, out=None)
    self.e_h = param(uniform, hidden, config.channels, out=None)
    self.e_m = param(zeros, states, config.channels, out=None)
    self.w_x = param(xavier, inputs, hidden, out="mlp")
    self.w_h = param(xavier, hidden, hidden, out="mlp")
    self.w_m = param(xavier, states, hidden, out="mlp")

  @property
  def memory(self) -> LegendreMemory:
    """The memory of every channel."""
    return LegendreMemory(self.config.memory, self.config.theta)

  def __call__(
    self, x_BTI: Float[Array, "B T I"], state: LMUState | None = None
  ) -> tuple[Float[Array, "B T H"], LMUState]:
    """Runs over the steps, from the state that a call before returned.

    Returns:
      the hidden state after every step, and the state after the last.
    """
    config, memory, rows = self.config, self.memory, x_BTI.shape[0]
    hidden_BH = jnp.zeros((rows, config.hidden), config.dtype)
    start = state or (hidden_BH, memory.start(rows, config.channels))
    weights = (self.e_x, self.e_h, self.e_m, self.w_x, self.w_h, self.w_m)
    e_x, e_h, e_m, w_x, w_h, w_m = (w[...].astype(config.dtype) for w in weights)
    x_TBI = jnp.swapaxes(x_BTI, 0, 1).astype(config.dtype)

    def step(state: LMUState, x: tuple[Array, Array]) -> tuple[LMUState, Array]:
      hidden_BH, m_BRQ = state
      to_memory_BR, to_hidden_BH = x
      recalled_BS = by_channel(m_BRQ).astype(config.dtype)
      m_BRQ = memory.step(m_BRQ, to_memory_BR + hidden_BH @ e_h + recalled_BS @ e_m)
      recalled_BS = by_channel(m_BRQ).astype(config.dtype)
      hidden_BH = jnp.tanh(to_hidden_BH + hidden_BH @ w_h + recalled_BS @ w_m)
      return (hidden_BH, m_BRQ), hidden_BH

    # What reads the input alone is computed for all steps together.
    last, hidden_TBH = lax.scan(step, start, (x_TBI @ e_x, x_TBI @ w_x))
    return jnp.swapaxes(hidden_TBH, 0, 1), last


class LMUFFT(nnx.Module):
  """The parallel layer, whose memory reads its input alone.

  u = relu(x w_u + b_u);  m = A m' + B u;  h = relu(m w_m + x w_x + b_h).
  Weights are [in, out].
  Source: Chilkuri and Eliasmith, equations 18 to 26.
  """

  def __init__(
    self, config: LMUConfig, *, form: Literal["fft", "scan"] = "fft", rngs: nnx.Rngs
  ) -> None:
    self.config = config
    self.form = form
    inputs, channels, dtype = config.inputs, config.channels, config.weight_dtype
    he = fan_in_normal(2.0)  # ReLU drops half
    hidden = he(rngs.params(), (config.states + inputs, config.hidden), dtype)
    self.w_u = nnx.Param(he(rngs.params(), (inputs, channels), dtype), **metadata("embed", None))
    # A channel whose input is never positive would never learn.
    self.b_u = nnx.Param(jnp.ones(channels, dtype), **metadata(None))
    self.w_m = nnx.Param(hidden[: config.states], **metadata("embed", "mlp"))
    self.w_x = nnx.Param(hidden[config.states :], **metadata("embed", "mlp"))
    self.b_h = nnx.Param(jnp.zeros(config.hidden, dtype), **metadata("mlp"))

  @property
  def memory(self) -> LegendreMemory:
    """The memory of every channel."""
    return LegendreMemory(self.config.memory, self.config.theta)

  def __call__(
    self, x_BTI: Float[Array, "B T I"], m_BRQ: Float[Array, "B R Q"] | None = None
  ) -> tuple[Float[Array, "B T H"], Float[Array, "B R Q"]]:
    """Computes all steps together, from the memories that a call before returned.

    Returns:
      the hidden state after every step, and the memories after the last.
    """
    states_of = self.memory.fft if self.form == "fft" else self.memory.scan
    m_BTRQ = states_of(self._inputs(x_BTI), m_BRQ)
    return self._hidden(m_BTRQ, x_BTI), m_BTRQ[:, -1]

  def last(self, x_BTI: Float[Array, "B T I"]) -> Float[Array, "B H"]:
    """Computes the hidden state after the last step alone."""
    return self._hidden(self.memory.last(self._inputs(x_BTI)), x_BTI[:, -1])

  def _inputs(self, x_BTI: Array) -> Array:
    w_u, b_u = (w[...].astype(self.config.dtype) for w in (self.w_u, self.b_u))
    return jax.nn.relu(x_BTI.astype(self.config.dtype) @ w_u + b_u)

  def _hidden(self, m: Float[Array, "*N R Q"], x: Float[Array, "*N I"]) -> Float[Array, "*N H"]:
    dtype = self.config.dtype
    w_m, w_x, b_h = (w[...].astype(dtype) for w in (self.w_m, self.w_x, self.b_h))
    return jax.nn.relu(by_channel(m).astype(dtype) @ w_m + x.astype(dtype) @ w_x + b_h)
