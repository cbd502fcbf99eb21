"""Schemas of config.json of dense language models: what they may ask of MaxText's decoders.

Source: `LlamaConfig`, `Qwen2Config` and `Qwen3Config` of transformers 4 and 5, and the published
config.json files of SmolLM2, Qwen2.5 and Qwen3.
"""

from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import Field

from maxtext_ext.checkpoint.config_schema import AnyText, Width
from maxtext_ext.files.foreign_json import Off, On

# The size of a sliding window, which means nothing while there is none.
_SLIDING = frozenset({"sliding_window", "max_window_layers"})


class LanguageModel(AnyText):
  """A dense decoder with an output head."""

  NEUTRAL: ClassVar[frozenset[str]] = AnyText.NEUTRAL | _SLIDING

  intermediate_size: Width


class _EvenHeads(LanguageModel):
  """A decoder whose file may leave it to the code to divide the width among the heads."""

  @pydantic.model_validator(mode="before")
  @classmethod
  def _with_head_dim(cls, value: Any) -> Any:
    if not isinstance(value, dict) or value.get("head_dim") is not None:
      return value
    hidden, heads = value.get("hidden_size"), value.get("num_attention_heads")
    if not (isinstance(hidden, int) and isinstance(heads, int) and heads > 0):
      return value  # which the fields of these refuse
    if hidden % heads:
      raise ValueError(f"a hidden_size ({hidden}) that num_attention_heads ({heads}) divides")
    return {**value, "head_dim": hidden // heads}


class Llama(_EvenHeads):
  """A Llama without biases, such as SmolLM2."""

  # `is_llama_config` and `transformers.js_config` stand in SmolLM2's files; `pretraining_tp` cuts
  # matrices into parts, whose sum is the same.
  NEUTRAL: ClassVar[frozenset[str]] = AnyText.NEUTRAL | {
    *("is_llama_config", "transformers.js_config", "pretraining_tp")
  }

  model_type: Literal["llama"]
  mlp_bias: Off = False
  rope_interleaved: Off = False
  use_qk_norm: Off = False


class Qwen2(_EvenHeads):
  """A Qwen2 or Qwen2.5: queries, keys and values with biases."""

  model_type: Literal["qwen2"]
  attention_bias: On = True
  use_qk_norm: Off = False
  use_mrope: Off = False


class Qwen3(LanguageModel):
  """A dense Qwen3: queries and keys with norms."""

  model_type: Literal["qwen3"]
  head_dim: Annotated[int, Field(ge=2, le=4096, multiple_of=2)] = 128
