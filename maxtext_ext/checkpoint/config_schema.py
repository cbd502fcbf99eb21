"""Schemas of config.json: each setting is applied, known to be harmless, or rejected.

Source: the configuration classes of Qwen3-ASR and Qwen3-Omni in transformers, the published
config.json files, and `PretrainedConfig` of transformers 4 and 5, whose keys any section may hold.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import pydantic
from pydantic import Field

from maxtext_ext.files import foreign_json
from maxtext_ext.files.foreign_json import Off, On


def _words(text: str) -> frozenset[str]:
  return frozenset(text.split())


# Keys of every section that change nothing here: names, training, how text is generated.
_NEUTRAL = _words(
  """
  _name_or_path _commit_hash _attn_implementation _attn_implementation_autoset
  _attn_implementation_internal _experts_implementation _output_attentions attn_implementation
  architectures transformers_version torch_dtype dtype use_cache return_dict output_attentions
  output_hidden_states use_return_dict torchscript use_bfloat16 tf_legacy_loss initializer_range
  attention_dropout activation_dropout dropout chunk_size_feed_forward id2label label2id num_labels
  problem_type finetuning_task task_specific_params tokenizer_class prefix max_position_embeddings
  bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id forced_bos_token_id
  forced_eos_token_id max_length min_length do_sample early_stopping num_beams num_beam_groups
  diversity_penalty temperature top_k top_p typical_p repetition_penalty length_penalty
  no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids num_return_sequences
  output_scores return_dict_in_generate remove_invalid_values exponential_decay_length_penalty
  suppress_tokens begin_suppress_tokens
  """
)
_TOKENS = _words(
  """
  audio_token_id audio_start_token_id audio_end_token_id user_token_id timestamp_token_id
  image_token_id video_token_id vision_start_token_id vision_end_token_id vision_token_id
  system_token_id assistant_token_id im_start_token_id im_end_token_id tts_bos_token_id
  tts_eos_token_id tts_pad_token_id
  """
)
_EXPERT_KEYS = _words(
  """
  decoder_sparse_step mlp_only_layers moe_intermediate_size norm_topk_prob num_experts
  num_experts_per_tok output_router_logits router_aux_loss_coef
  """
)
# Of the forced aligner, whose thinker has another model_type.
_ALIGNER_KEYS = frozenset({"classify_num"})

_Layers = Annotated[int, Field(ge=1, le=1000)]
Width = Annotated[int, Field(ge=1, le=2**20)]
_Experts = Annotated[int, Field(ge=1, le=4096)]


def _whole(value: float) -> float:
  if value != int(value):
    raise ValueError("a whole number, which MaxText's rope_max_timescale is")
  return value


def _one(value: float) -> float:
  if value != 1:
    raise ValueError("1.0")
  return value


_One = Annotated[float, pydantic.AfterValidator(_one)]
_Theta = Annotated[float, Field(ge=1, le=1e12), pydantic.AfterValidator(_whole)]


class _Section(foreign_json.Settings):
  """A section of config.json."""

  NEUTRAL: ClassVar[frozenset[str]] = _NEUTRAL

  # Of any section: what would make another model of it.
  add_cross_attention: Off = False
  is_decoder: Off = False
  is_encoder_decoder: Off = False
  tie_encoder_decoder: Off = False
  pruned_heads: Annotated[dict[str, Any], Field(max_length=0)] | None = None


class Audio(_Section):
  """The audio tower."""

  NEUTRAL: ClassVar[frozenset[str]] = _NEUTRAL | {
    *("conv_chunksize", "max_source_positions", "tie_word_embeddings")
  }
  # Other names for some of them, which transformers understands.
  ALIASES: ClassVar[Mapping[str, str]] = {
    "d_model": "hidden_size",
    "encoder_layers": "num_hidden_layers",
    "encoder_attention_heads": "num_attention_heads",
    "encoder_ffn_dim": "intermediate_size",
  }

  model_type: Literal[
    "qwen3_asr_audio_encoder", "qwen3_asr_encoder", "qwen3_omni_moe_audio_encoder"
  ] = "qwen3_asr_encoder"
  num_mel_bins: Annotated[int, Field(ge=1, le=1024)]
  d_model: Width
  encoder_layers: _Layers
  encoder_attention_heads: Width
  encoder_ffn_dim: Width
  downsample_hidden_size: Width
  output_dim: Width
  n_window: Literal[50] = 50
  n_window_infer: Literal[800] = 800
  activation_function: Literal["gelu"] = "gelu"
  scale_embedding: Off = False

  @pydantic.model_validator(mode="before")
  @classmethod
  def _under_one_name(cls, value: Any) -> Any:
    if not isinstance(value, dict):
      return value
    renamed = dict(value)
    for ours, name in cls.ALIASES.items():
      if name in renamed and renamed.setdefault(ours, renamed[name]) == renamed[name]:
        del renamed[name]
    return renamed

  @pydantic.model_validator(mode="after")
  def _divisible(self) -> Self:
    if self.d_model % self.encoder_attention_heads:
      raise ValueError(
        f"a d_model ({self.d_model}) that encoder_attention_heads"
        f" ({self.encoder_attention_heads}) divides"
      )
    return self


class Rope(foreign_json.Settings):
  """Rotary position settings; for sound and text alone M-RoPE's sections are alike."""

  NEUTRAL: ClassVar[frozenset[str]] = frozenset(
    ("mrope_section", "interleaved", "mrope_interleaved")
  )

  rope_type: Literal["default"] = "default"
  type: Literal["default"] = "default"  # the older spelling
  rope_theta: _Theta | None = None
  partial_rotary_factor: _One = 1.0


class AnyText(_Section):
  """Settings that dense decoders and mixtures share."""

  hidden_size: Width
  num_hidden_layers: _Layers
  num_attention_heads: Width
  num_key_value_heads: Width
  head_dim: Annotated[int, Field(ge=2, le=4096, multiple_of=2)]
  vocab_size: Annotated[int, Field(ge=1, le=2**24)]
  rms_norm_eps: Annotated[float, Field(gt=0, lt=1)]
  hidden_act: Literal["silu"] = "silu"
  attention_bias: Off = False
  use_qk_norm: On = True
  use_sliding_window: Off = False  # and then the keys of its size mean nothing
  layer_types: list[Literal["full_attention"]] | None = None
  rope_theta: _Theta | None = None
  rope_scaling: Rope = Rope()
  rope_parameters: Rope = Rope()
  partial_rotary_factor: _One = 1.0
  tie_word_embeddings: bool | None = None

  @pydantic.model_validator(mode="after")
  def _consistent(self) -> Self:
    if self.num_attention_heads % self.num_key_value_heads:
      raise ValueError(
        f"a number of heads ({self.num_attention_heads}) that num_key_value_heads"
        f" ({self.num_key_value_heads}) divides"
      )
    if self.layer_types is not None and len(self.layer_types) != self.num_hidden_layers:
      raise ValueError(
        f"as many layer_types ({len(self.layer_types)}) as layers ({self.num_hidden_layers})"
      )
    if len(self._thetas) != 1:
      said = " and ".join(f"{theta:g}" for theta in sorted(self._thetas)) or "none"
      raise ValueError(f"one rope_theta, got {said}")
    return self

  @property
  def _thetas(self) -> set[float]:
    places = (self.rope_theta, self.rope_scaling.rope_theta, self.rope_parameters.rope_theta)
    return {theta for theta in places if theta is not None}

  @property
  def theta(self) -> int:
    """The base of the rotary periods, wherever it is given."""
    return int(*self._thetas)


_SLIDING = frozenset({"sliding_window", "max_window_layers"})


class DenseText(AnyText):
  """A Qwen3 decoder; keys of experts are left over in the original's files."""

  NEUTRAL: ClassVar[frozenset[str]] = _NEUTRAL | _SLIDING | _EXPERT_KEYS | _ALIGNER_KEYS

  model_type: Literal["qwen3", "qwen3_asr_text"] = "qwen3"
  intermediate_size: Width


class ExpertText(AnyText):
  """A Qwen3 decoder of which every layer is a mixture, the chosen weights adding up to one."""

  NEUTRAL: ClassVar[frozenset[str]] = (
    _NEUTRAL | _SLIDING | {"intermediate_size", "output_router_logits", "router_aux_loss_coef"}
  )

  model_type: Literal["qwen3_omni_moe_text", "qwen3_moe"] = "qwen3_omni_moe_text"
  moe_intermediate_size: Width
  num_experts: _Experts
  num_experts_per_tok: _Experts
  norm_topk_prob: On = True
  decoder_sparse_step: Literal[1] = 1
  mlp_only_layers: Annotated[list[int], Field(max_length=0)] | None = None
  shared_expert_intermediate_size: Literal[0] = 0

  @pydantic.model_validator(mode="after")
  def _enough_experts(self) -> Self:
    if self.num_experts_per_tok > self.num_experts:
      raise ValueError(
        f"at least num_experts_per_tok ({self.num_experts_per_tok}) experts ({self.num_experts})"
      )
    return self


class _Joined(_Section):
  """An audio tower before a decoder."""

  audio_config: Audio
  text_config: AnyText
  tie_word_embeddings: bool | None = None

  @pydantic.model_validator(mode="after")
  def _same_width(self) -> Self:
    if self.audio_config.output_dim != self.text_config.hidden_size:
      raise ValueError(
        f"audio_config.output_dim={self.audio_config.output_dim} equal to"
        f" text_config.hidden_size={self.text_config.hidden_size}"
      )
    return self


class AsrThinker(_Joined):
  """thinker_config of Qwen3-ASR, as published."""

  NEUTRAL: ClassVar[frozenset[str]] = _NEUTRAL | _TOKENS | _ALIGNER_KEYS

  model_type: Literal["qwen3_asr_thinker"] = "qwen3_asr_thinker"
  text_config: DenseText


class AsrNative(_Joined):
  """config.json of transformers' own Qwen3-ASR."""

  NEUTRAL: ClassVar[frozenset[str]] = _NEUTRAL | _TOKENS | {"support_languages"}

  model_type: Literal["qwen3_asr"]
  text_config: DenseText
  token_classification_bias: Off = False  # of the forced aligner, another model


class AsrOriginal(_Section):
  """config.json of Qwen3-ASR, as published."""

  NEUTRAL: ClassVar[frozenset[str]] = _NEUTRAL | _TOKENS | {"support_languages"}

  model_type: Literal["qwen3_asr"]
  thinker_config: AsrThinker
  tie_word_embeddings: bool | None = None


class OmniThinker(_Joined):
  """config.json of Qwen3-Omni's thinker, or thinker_config of the whole model."""

  NEUTRAL: ClassVar[frozenset[str]] = _NEUTRAL | {
    *_TOKENS,
    *("vision_config", "position_id_per_seconds", "seconds_per_chunk"),
  }

  model_type: Literal["qwen3_omni_moe_thinker"] = "qwen3_omni_moe_thinker"
  text_config: ExpertText


class OmniFull(_Section):
  """config.json of Qwen3-Omni, of which the thinker is used."""

  NEUTRAL: ClassVar[frozenset[str]] = _NEUTRAL | {
    *_TOKENS,
    *("talker_config", "code2wav_config", "enable_audio_output"),
  }

  model_type: Literal["qwen3_omni_moe"]
  thinker_config: OmniThinker
  tie_word_embeddings: bool | None = None


class FrontEnd(foreign_json.Schema):
  """The feature extractor of preprocessor_config.json: what of it changes the log-mel."""

  model_config = pydantic.ConfigDict(extra="ignore", strict=True, frozen=True)

  sampling_rate: Literal[16000] = 16_000
  n_fft: Literal[400] = 400
  hop_length: Literal[160] = 160
  dither: Annotated[float, Field(ge=0, le=0)] = 0.0
  do_normalize: Off = False
