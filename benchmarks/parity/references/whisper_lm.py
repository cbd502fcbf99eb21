"""Whisper encoders, projectors and language models with random weights, as models of three parts.

Numpy only, as `reference.py`. Windows are of 2.4 s, not of 30, so that they are quick.
"""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from benchmarks.parity.references import dense_lm, whisper
from benchmarks.parity.references.dense_lm import LanguageModel
from benchmarks.parity.references.reference import GOLDEN, Shapes, voices
from benchmarks.parity.references.weights import draw
from benchmarks.parity.references.whisper import WhisperReference

PATH = GOLDEN / "whisper_lm.npz"
ADAPTER = GOLDEN / "whisper_lm_adapter"  # PEFT's, of the first reference's language model
INSTRUCTION, ANSWER = [20, 21, 22], [30, 31, 32, 33]  # token ids, behind the audio
SECONDS = (0.15, 1.31, 2.4)

ENCODER = WhisperReference(
  name="small_windows", d_model=32, heads=4, published_layers=2, positions=120, seconds=SECONDS
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WhisperLM:
  """A model of three parts.

  The outputs of PATH are `{name}_{i}` [instruction and answer, vocabulary] of clip i, and
  `adapted_{i}` with the adapter.
  """

  name: str
  projector: str
  stack: int
  lm: LanguageModel
  encoder: WhisperReference = ENCODER

  def projector_weights(self) -> dict[str, np.ndarray]:
    """float32 weights of the projector."""
    stacked, hidden = self.stack * self.encoder.d_model, self.lm.text["hidden_size"]
    shapes: Shapes = {"linear_1.weight": (64, stacked), "linear_2.weight": (hidden, 64)}
    if self.projector == "slam":
      shapes |= {"linear_1.bias": (64,), "linear_2.bias": (hidden,)}
    else:
      shapes |= {"norm_1.weight": (64,), "norm_2.weight": (hidden,)}
    return draw(shapes, seed=7)

  def configs(self) -> dict[str, dict[str, Any]]:
    """config.json of each part."""
    projector = {
      "model_type": "stacked_frames_projector",
      "projector": self.projector,
      "stack": self.stack,
      "input_size": self.stack * self.encoder.d_model,
      "hidden_size": 64,
      "output_size": self.lm.text["hidden_size"],
    }
    lm = dense_lm.hf_config(self.lm)
    return {"encoder": self.encoder.config(), "lm": lm, "projector": projector}

  def weights(self) -> dict[str, dict[str, np.ndarray]]:
    """float32 weights of each part."""
    lm = dense_lm.lm_weights(self.lm)
    return {
      "encoder": self.encoder.weights(),
      "lm": lm,
      "projector": self.projector_weights(),
    }

  def write(self, folder: pathlib.Path) -> None:
    """Writes each part into a folder of its own."""
    for name, tensors in self.weights().items():
      part = folder / name
      part.mkdir(parents=True)
      (part / "config.json").write_text(json.dumps(self.configs()[name]))
      save_file(tensors, part / "model.safetensors")


REFERENCES = (
  WhisperLM(name="smollm2", projector="normed_mlp", stack=4, lm=dense_lm.SMOLLM2),
  WhisperLM(name="qwen2", projector="slam", stack=5, lm=dense_lm.QWEN2),
)


def clips() -> list[np.ndarray]:
  """Mono 16 kHz float32 clips."""
  return voices(SECONDS)


def audio_tokens(ref: WhisperLM, samples: int) -> int:
  """Whole stacks of the encoder's positions that a clip fills; half a position counts as one."""
  return (samples // whisper.HOP + 1) // 2 // ref.stack


def outputs() -> dict[str, np.ndarray]:
  """Stored outputs."""
  with np.load(PATH) as file:
    return dict(file)
