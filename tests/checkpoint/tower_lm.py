"""Family for tests: a dense language model and Qwen3-ASR's audio tower in one checkpoint."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from benchmarks.parity.references import dense_lm as references
from benchmarks.parity.references import ours
from benchmarks.parity.references.reference import Reference
from maxtext_ext.checkpoint import dense_lm, qwen3_asr
from maxtext_ext.checkpoint.keymap import Family, Rule

NAME = "tower_lm"


def _rules(naming: str, tied: bool, model: Mapping[str, Any]) -> list[Rule]:
  tower = qwen3_asr.audio_rules("audio_tower", "projector.linear_1", "projector.linear_2")
  return [*tower, *dense_lm.lm_rules(model, tied=tied)]


def _model_keys(config: Mapping[str, Any], source: str) -> dict[str, Any]:
  return {**config["audio"], **dense_lm.lm_keys(config["text"], source)}


FAMILY = Family(
  name=NAME,
  model_types=(NAME,),
  namings=("native",),
  model_keys=_model_keys,
  sizes=qwen3_asr.sizes,
  rules=_rules,
  hf_config=lambda config, naming, tied: dict(config),
)


def audio_keys(ref: Reference) -> dict[str, Any]:
  """The keys of the tower."""
  return {k: v for k, v in ours.config_keys(ref).items() if k.endswith("_for_audio")}


def write(folder: pathlib.Path, ref: Reference, dtype: Any = np.float32) -> dict[str, np.ndarray]:
  """Writes a reference as a checkpoint; returns its tensors."""
  folder.mkdir()
  audio, text = audio_keys(ref), references.hf_config(ref)
  config = {"model_type": NAME, "audio": audio, "text": text}
  (folder / "config.json").write_text(json.dumps(config))
  weights = {name: value.astype(dtype) for name, value in ref.weights().items()}
  save_file(weights, folder / "model.safetensors")
  return weights
