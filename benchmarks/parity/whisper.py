"""Whisper's encoder with the weights of a reference, run on clips packed into windows.

  python -m benchmarks.parity.whisper DIR

compares all layers of every published size with the outputs that `python -m
tests.golden.make_whisper --full DIR` has written, and prints the largest relative differences.
"""

import sys
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.parity.references import whisper as golden
from benchmarks.parity.references.whisper import WhisperReference
from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.audio.mel import log_mel
from maxtext_ext.checkpoint import whisper as checkpoint
from maxtext_ext.checkpoint.keymap import our_shapes, places_by_name
from maxtext_ext.input.windows import cut_chunks, frames_of_chunks
from maxtext_ext.models.encoders.whisper import WhisperConfig, WhisperEncoder

Weights = dict[str, np.ndarray]


def our_weights(hf_config: dict[str, Any], weights: Weights) -> tuple[WhisperConfig, Weights]:
  """Returns the encoder's config, and its weights by our paths, through conversion's rules."""
  keys = checkpoint.encoder_keys(hf_config)
  sizes, rules = checkpoint.encoder_sizes(keys), checkpoint.encoder_rules()
  ours = {path: np.empty(shape, np.float32) for path, shape in our_shapes(rules, sizes).items()}
  for name, places in places_by_name(rules, sizes).items():
    for place in places:
      ours[place.path][place.slot()] = place.rule.view(weights[name], sizes)
  return WhisperConfig(**keys["encoder"]), ours


class Encoder:
  """Log-mel and encoder of given weights, compiled once for each number of windows."""

  def __init__(self, hf_config: dict[str, Any], weights: Weights) -> None:
    self.config, ours = our_weights(hf_config, weights)
    self.graph, state = nnx.split(
      nnx.eval_shape(lambda: WhisperEncoder(self.config, rngs=nnx.Rngs(params=0)))
    )
    by_path = {"speech_encoder/" + "/".join(path): leaf for path, leaf in nnx.to_flat_state(state)}
    assert by_path.keys() == ours.keys()
    for path, leaf in by_path.items():
      leaf.set_value(jnp.asarray(ours[path]))
    self.state = state
    self._compile(padded_windows=True)

  @classmethod
  def of(cls, ref: WhisperReference) -> Self:
    """Makes the encoder of a reference."""
    return cls(ref.config(), ref.weights())

  def _compile(self, *, padded_windows: bool) -> None:
    graph, mels = self.graph, self.config.num_mel_bins

    def run(state: nnx.State, *batch: jax.Array) -> jax.Array:
      mel = log_mel(*batch, mels, padded_windows=padded_windows)
      return nnx.merge(graph, state)(mel, *batch[1:])

    self._run = jax.jit(run)

  def changed(self, state: nnx.State, *, padded_windows: bool = True) -> Self:
    """Returns an encoder of other weights, or one that leaves out the padding of the log-mel."""
    other = object.__new__(type(self))
    other.config, other.graph, other.state = self.config, self.graph, state
    other._compile(padded_windows=padded_windows)
    return other

  def __call__(self, clips: list[np.ndarray], windows: int) -> list[list[np.ndarray]]:
    """Runs clips packed into one row of so many windows.

    Returns:
      [positions, width] of each window of each clip.
    """
    batch, counts = pack(clips, windows, self.config.geometry)
    out = iter(np.asarray(self._run(self.state, *batch))[0])
    return [[next(out) for _ in range(count)] for count in counts]


def pack(
  clips: list[np.ndarray], windows: int, geometry: Geometry
) -> tuple[list[jax.Array], list[int]]:
  """Returns the arrays of one row, and how many windows each clip has."""
  size = (windows, geometry.chunks_per_window)
  samples = np.zeros((*size, geometry.chunk_samples), np.float32)
  frames, segment = np.zeros((2, *size), np.int32)
  first, counts = 0, []
  for number, clip in enumerate(clips, 1):
    chunks = cut_chunks(clip, geometry)
    counts.append(-(-len(chunks) // geometry.chunks_per_window))
    real = frames_of_chunks(geometry.num_frames(len(clip)), geometry)
    for array, values in (
      (samples, chunks),
      (frames, real),
      (segment, np.full(len(chunks), number)),
    ):
      own = array[first : first + counts[-1]].reshape(-1, *array.shape[2:])
      own[: len(values)] = values
    first += counts[-1]
  return [jnp.asarray(array[None]) for array in (samples, frames, segment)], counts


def main(folder: str) -> None:
  """Prints the largest relative difference of each size."""
  for ref in golden.REFERENCES.values():
    full = ref.full()
    encoder, worst = Encoder.of(full), 0.0
    with np.load(f"{folder}/{ref.name}.npz") as stored:
      for number, clip in enumerate(full.clips()):
        parts = golden.windows(clip)
        (states,) = encoder([clip], len(parts))
        for window, part in enumerate(parts):
          want = stored[f"{ref.name}_{number}_{window}"]
          got = states[window][golden.stored_positions(number, len(part))]
          worst = max(worst, float(np.abs(got - want).max() / np.abs(want).max()))
    print(f"{ref.name:9s} {full.layers:2d} layers: {worst:.1e}")


if __name__ == "__main__":
  main(sys.argv[1])
