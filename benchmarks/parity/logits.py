"""Whole models against stored outputs of transformers: audio tokens, logits, chosen experts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.parity import models
from benchmarks.parity.compare import relative
from benchmarks.parity.references import (
  dense_lm,
  qwen3_asr,
  qwen3_asr_odd,
  qwen3_omni,
  reference,
)
from maxtext_ext import bridge
from maxtext_ext.checkpoint.dense_lm import lm_keys

REFERENCES = {
  "Qwen3-ASR": (qwen3_asr.REFERENCE, "qwen3-asr-0.6b"),
  "Qwen3-ASR of an odd shape": (qwen3_asr_odd.REFERENCE, "qwen3-asr-0.6b"),
  "Qwen3-Omni thinker": (qwen3_omni.REFERENCE, "qwen3-omni-30b-a3b"),
}


@functools.cache
def loaded(name: str, scanned: bool) -> models.Loaded:
  """Our model with a reference's weights."""
  ref, model = REFERENCES[name]
  return models.load_model(ref, model=model, scan_layers=scanned)


@functools.cache
def outputs(name: str, scanned: bool, layout: str) -> dict[str, models.Found]:
  """Outputs of that model for the reference's clips, by id."""
  ref, _ = REFERENCES[name]
  return models.run_all(loaded(name, scanned), models.utterances(ref), **models.LAYOUTS[layout])


def audio_error(name: str) -> float:
  """Largest error of audio tokens behind the projector, all clips packed into one row."""
  ref, _ = REFERENCES[name]
  model = loaded(name, True)
  layout = {k: v for k, v in models.LAYOUTS["packed"].items() if k != "batches"}
  arrays, places = models.batch_of(models.utterances(ref), **layout)
  with bridge.mesh_scope(model.config, model.mesh):
    tokens_BWAD = jax.jit(lambda batch: model.merge().encode(batch))(
      jax.tree.map(jnp.asarray, arrays)
    )
  tokens_BTD = np.asarray(tokens_BWAD).reshape(len(tokens_BWAD), -1, tokens_BWAD.shape[-1])
  errors = []
  for clip, row, positions in places:
    index = arrays["audio_index"][row, positions]
    tokens = tokens_BTD[row, index[index >= 0]]
    stored = reference.stored_tokens(int(clip), len(tokens))
    errors.append(relative(tokens[stored], ref.outputs()[f"tokens_{clip}"]))
  return max(errors)


def logits_error(name: str, scanned: bool, layout: str) -> float:
  """Largest error of the logits over all clips."""
  ref, _ = REFERENCES[name]
  results = outputs(name, scanned, layout)
  return max(
    models.error(ref, results[clip.sample_id].logits, clip) for clip in models.utterances(ref)
  )


LANGUAGE_MODELS = {
  "SmolLM2's heads": dense_lm.SMOLLM2,
  "Llama with heads of 24": dense_lm.LLAMA,
  "Qwen2.5": dense_lm.QWEN2,
  "dense Qwen3": dense_lm.QWEN3,
}
LM_ROW = {"max_tokens": 256, "windows": 2, "rows": 1}  # holds all clips of one


def lm_error(name: str, scanned: bool) -> float:
  """Largest error of a language model's logits over its clips, which share a row."""
  ref = LANGUAGE_MODELS[name]
  model = models.load_model(ref, **lm_keys(dense_lm.hf_config(ref)), scan_layers=scanned)
  found = models.run_all(model, models.utterances(ref), **LM_ROW)
  return max(
    models.error(ref, found[clip.sample_id].logits, clip) for clip in models.utterances(ref)
  )


def router_differences(name: str, scanned: bool) -> float:
  """Counts choices of experts that differ, over layers and tokens of all clips."""
  ref, _ = REFERENCES[name]
  results = outputs(name, scanned, "packed")
  different = 0
  for clip in models.utterances(ref):
    experts = results[clip.sample_id].experts
    want = ref.outputs()[f"experts_{clip.sample_id}"][:, : experts.shape[1]]
    different += int((experts != want).any(axis=-1).sum())
  return different
