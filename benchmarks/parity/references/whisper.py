"""Whisper encoders with random weights in the shapes of the published sizes, and their clips.

Numpy only, as `reference.py`. With published widths the parity covers what depends on them; two
layers of each are enough, as all layers are alike.
"""

import dataclasses
from typing import Any

import numpy as np

from benchmarks.parity.references.reference import GOLDEN, Shapes, voices
from benchmarks.parity.references.weights import draw

PATH = GOLDEN / "whisper.npz"
PREFIX = "model.encoder"
POSITIONS = 1_500
WINDOW = 480_000  # samples, 30 s
HOP = 160  # samples of a frame


@dataclasses.dataclass(frozen=True, kw_only=True)
class WhisperReference:
  """An encoder, and the clips that it was run on.

  Attributes:
    name: of the published size whose widths it has.
    published_layers: layers of that size.
    seconds: length of every clip.
    positions: of a window.
  """

  name: str
  mels: int = 80
  d_model: int
  heads: int
  layers: int = 2
  published_layers: int
  seconds: tuple[float, ...] = (3.3,)
  positions: int = POSITIONS

  @property
  def ffn_dim(self) -> int:
    """Width inside the feed-forward, four times the other in all sizes."""
    return 4 * self.d_model

  def full(self) -> "WhisperReference":
    """Returns the published size with all its layers."""
    return dataclasses.replace(self, layers=self.published_layers)

  def shapes(self) -> Shapes:
    """Names and shapes of the weights as a checkpoint on disk has them."""
    dim = self.d_model
    out: Shapes = {
      f"{PREFIX}.conv1.weight": (dim, self.mels, 3),
      f"{PREFIX}.conv2.weight": (dim, dim, 3),
      f"{PREFIX}.embed_positions.weight": (self.positions, dim),
      f"{PREFIX}.layer_norm.weight": (dim,),
    }
    vectors = [f"{PREFIX}.{name}.bias" for name in ("conv1", "conv2", "layer_norm")]
    for i in range(self.layers):
      layer = f"{PREFIX}.layers.{i}."
      for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        out[f"{layer}self_attn.{name}.weight"] = (dim, dim)
      vectors += [f"{layer}self_attn.{name}.bias" for name in ("q_proj", "v_proj", "out_proj")]
      out |= {f"{layer}fc1.weight": (self.ffn_dim, dim), f"{layer}fc1.bias": (self.ffn_dim,)}
      out |= {f"{layer}fc2.weight": (dim, self.ffn_dim)}
      vectors.append(f"{layer}fc2.bias")
      for name in ("self_attn_layer_norm", "final_layer_norm"):
        vectors += [f"{layer}{name}.weight", f"{layer}{name}.bias"]
    return out | dict.fromkeys(vectors, (dim,))

  def weights(self) -> dict[str, np.ndarray]:
    """float32 weights under the names of `shapes`."""
    return draw(self.shapes(), seed=0)

  def clips(self) -> list[np.ndarray]:
    """Mono 16 kHz float32 clips on the int16 grid."""
    return voices(self.seconds)

  def config(self) -> dict[str, Any]:
    """config.json, as far as the encoder goes; the decoder is as small as can be."""
    return {
      "model_type": "whisper",
      "num_mel_bins": self.mels,
      "d_model": self.d_model,
      "encoder_layers": self.layers,
      "encoder_attention_heads": self.heads,
      "encoder_ffn_dim": self.ffn_dim,
      "max_source_positions": self.positions,
      "decoder_layers": 1,
      "decoder_attention_heads": self.heads,
      "decoder_ffn_dim": self.d_model,
      "vocab_size": 64,
    }


TINY = WhisperReference(
  name="tiny",
  d_model=384,
  heads=6,
  published_layers=4,
  seconds=(0.1, 1.2, 5.3, 28.85, 30.0, 47.3),
)
BASE = WhisperReference(name="base", d_model=512, heads=8, published_layers=6)
SMALL = WhisperReference(name="small", d_model=768, heads=12, published_layers=12)
MEDIUM = WhisperReference(name="medium", d_model=1024, heads=16, published_layers=24)
# large-v3-turbo has the same encoder.
LARGE = WhisperReference(name="large-v3", mels=128, d_model=1280, heads=20, published_layers=32)
# Whisper tiny.en with its trained weights, which are not drawn.
TRAINED = WhisperReference(
  name="tiny.en", d_model=384, heads=6, published_layers=4, layers=4, seconds=(0.4, 4.7, 30.0)
)
TRAINED_PATH = GOLDEN / "tiny_en.npz"
REFERENCES = {each.name: each for each in (TINY, BASE, SMALL, MEDIUM, LARGE)}


def windows(clip: np.ndarray) -> list[np.ndarray]:
  """The parts of a clip, 30 s each but the last, that are encoded like clips of their own."""
  count = max(1, -(-(len(clip) // HOP * HOP) // WINDOW))
  return [clip[i * WINDOW : (i + 1) * WINDOW] for i in range(count)]


def stored_positions(clip: int, samples: int) -> np.ndarray:
  """Chooses the stored positions of a window: ends, sides of the end of the clip, and a sample."""
  end = min(samples // HOP // 2, POSITIONS - 1)
  sample = np.random.default_rng([3, clip]).permutation(POSITIONS)[:5]
  return np.unique([0, max(end - 1, 0), end, min(end + 1, POSITIONS - 1), POSITIONS - 1, *sample])


def outputs() -> dict[str, np.ndarray]:
  """Stored outputs: `{name}_{clip}_{window}` [stored positions, d_model]."""
  with np.load(PATH) as file:
    return dict(file)
