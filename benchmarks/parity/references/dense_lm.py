"""Tiny language models of three kinds behind Qwen3-ASR's audio tower, as transformers has them.

The tower and the projector stand for any encoder. With plain random weights and a tied head every
token would be followed by itself, so the embeddings are small beside what the layers add to them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.parity.references import qwen3_asr, reference
from benchmarks.parity.references.reference import Reference

NEW_TOKENS = 14
BEAMS = 3
# Many, so that random texts end at all lengths.
EOS_IDS = tuple(range(reference.FIRST_WORD, reference.LAST_WORD, 37))
_EMBEDDING = 0.1  # of the usual size


class LanguageModel(Reference):
  """A language model and a tower with random weights.

  The outputs of `path` are `logits_{i}` [stored positions, vocabulary] of clip i, and
  `generated_{i}` [at most NEW_TOKENS], the greedy answer with the eos that ended it; `beams_{i}`
  is that of BEAMS beams.
  """

  def weights(self) -> dict[str, np.ndarray]:
    """float32 weights under the names of `shapes`."""
    weights = super().weights()
    weights["model.embed_tokens.weight"] *= np.float32(_EMBEDDING)
    return weights


def _model(name: str, *, text: Mapping[str, int], **others: Any) -> LanguageModel:
  shape = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, **text}
  return LanguageModel(
    name=name,
    audio={**qwen3_asr.REFERENCE.audio, "output_dim": shape["hidden_size"]},
    text=shape,
    audio_prefix="audio_tower.",
    projector=("projector.linear_1", "projector.linear_2"),
    text_prefix="model.",
    seconds=(0.5, 2.2, 9.01),
    **others,
  )


# SmolLM2-135M's heads.
SMOLLM2 = _model(
  "smollm2",
  text={"hidden_size": 72, "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64},
  norms=False,
  rope_theta=1e5,
  rms_norm_eps=1e-5,
)
# A Llama whose queries cannot be scaled exactly in their kernel.
LLAMA = _model(
  "llama",
  text={"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 24},
  norms=False,
  rope_theta=1e4,
  rms_norm_eps=1e-5,
  head="lm_head",
)
QWEN2 = _model(
  "qwen2",
  text={"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8},
  norms=False,
  biases=True,
)
QWEN3 = _model(
  "qwen3",
  text={"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32},
  head="lm_head",
)
REFERENCES = {ref.name: ref for ref in (SMOLLM2, LLAMA, QWEN2, QWEN3)}
_TYPES = {"smollm2": "llama"}


def hf_config(ref: Reference) -> dict[str, Any]:
  """config.json of the language model."""
  return {
    "model_type": _TYPES.get(ref.name, ref.name),
    "vocab_size": reference.VOCABULARY,
    **ref.text,
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
    "rms_norm_eps": ref.rms_norm_eps,
    "rope_theta": ref.rope_theta,
    "tie_word_embeddings": ref.head is None,
    "eos_token_id": list(EOS_IDS),
    "pad_token_id": reference.PAD,
  }


def lm_weights(ref: Reference) -> dict[str, np.ndarray]:
  """The weights of the language model alone, as its checkpoint has them."""
  return {k: v for k, v in ref.weights().items() if k.startswith(("model.", "lm_head."))}
