"""The project's own configuration keys, and what must fit together among them.

`config.SpeechConfig` puts them on top of MaxText's.
"""

from typing import Any, Literal, Self

import pydantic
from pydantic import Field

from maxtext_ext.keys.training import Count, Size, TrainingKeys
from maxtext_ext.models import parts
from maxtext_ext.run_identity import CHANGEABLE
from maxtext_ext.text.normalize import NORMALIZERS, get_normalizer

# Weights that `decode_checkpoint` names, beside those of a step of the run.
CHECKPOINTS = ("best", "latest", "base", "untrained")


class MixtureEntry(pydantic.BaseModel):
  """One dataset of `mixture`."""

  model_config = pydantic.ConfigDict(extra="forbid")

  name: str = Field(description="By which its epochs and dropped records are counted.")
  data_dir: str = Field(description="Folder of {split}-*.array_record files.")
  split: str = Field("", description="The split to train on; default: train_split.")
  weight: float = Field(1.0, gt=0, description="How much more often than its length tells.")


_Range = tuple[float, float]


class SpeechKeys(TrainingKeys):
  """The keys of a speech run beside MaxText's.

  The encoder's shape uses MaxText's own `*_for_audio` keys, the language model's shape MaxText's
  `base_*` keys; `max_target_length` is L, the token slots of a packed row.
  """

  model_name: str = Field(
    "default",
    description="A file of configs/models, without .yml; or a model.yml, or its folder or URL.",
  )
  # Model
  speech_model: str = Field("speech_lm", description="A key of models.make.MODELS.")
  speech_encoder: str = Field("qwen3_audio", description="A key of models.encoders.ENCODERS.")
  encoder: dict[str, Any] = Field(
    {}, description="Shape of the encoder; of qwen3_audio the *_for_audio keys give it."
  )
  projector: str = Field("mlp", description="A key of models.projector.PROJECTORS.")
  embedding_init_std: float = Field(0.02, gt=0, description="Of a token embedding made new.")
  template: Literal["qwen3_asr", "letters"] = Field(
    "qwen3_asr", description="How prompts and targets are written; a key of TEMPLATES."
  )
  # LoRA
  lora_rank: Size = Field(0, description="Rank of the adapters; 0: train every weight.")
  lora_alpha: float = Field(32.0, gt=0, description="An update counts lora_alpha / lora_rank.")
  lora_targets: list[str] = Field(
    ["attention", "ffn"], description="Keys of models.lora.TARGETS, or regexes of kernel names."
  )
  lora_dropout: float = Field(
    0.0, ge=0, lt=1, description="Share of an adapter's input that is dropped in training."
  )
  # What trains
  train_parts: dict[str, float] = Field(
    {},
    description=(
      "Learning rates of the parts that train (encoder, projector, lm, router, adapters); 0:"
      " frozen, as those not named. Empty: everything, or with lora_rank the adapters, at"
      " learning_rate."
    ),
  )
  router_aux_loss_coef: float = Field(
    0.0, ge=0, description="Weight of the loss that keeps all experts in use, if the router trains."
  )
  # Data
  data_dir: str = Field("", description="Folder of {split}-*.array_record files.")
  mixture: list[MixtureEntry] = Field(
    [], description="Datasets to train on instead of data_dir: name, data_dir, split, weight."
  )
  mixture_temperature: float = Field(
    1.0,
    gt=0,
    description="n records count weight * n^(1/temperature): 1 by length, high all alike.",
  )
  windows_per_row: Size = Field(0, description="8 s windows of a row; 0: from the data.")
  min_seconds: float = Field(0.0, ge=0, description="Shorter clips are dropped and counted.")
  max_seconds: float = Field(30.0, gt=0, description="Longer clips are dropped and counted.")
  min_characters: Size = Field(0, description="Shorter texts are dropped and counted.")
  max_characters: Size = Field(0, description="Longer texts are dropped; 0: none.")
  min_characters_per_second: float = Field(0.0, ge=0, description="Sparser texts are dropped.")
  max_characters_per_second: float = Field(
    0.0, ge=0, description="Denser texts are dropped; 0: none."
  )
  max_bad_fraction: float = Field(
    0.01, ge=0, le=1, description="More unusable records than this among those read are an error."
  )
  packing_lookahead: Count = Field(512, description="Records among which a row chooses.")
  audio_dtype: Literal["float32", "int16"] = Field(
    "int16", description="Samples on their way to the device; int16 halves the traffic."
  )
  language_in_prompt: bool = Field(
    False, description="Give the language in the prompt instead of training the model to say it."
  )
  context: str = Field("", description="Text of the system message, such as names to expect.")
  spec_augment_mels: Size = Field(0, description="Widest masked band of mel bins; 0: off.")
  spec_augment_frames: Size = Field(0, description="Widest masked span, 10 ms; 0: off.")
  speed_range: _Range = Field((1.0, 1.0), description="Factors of speed, such as [0.9, 1.1].")
  gain_db: _Range = Field((0.0, 0.0), description="Factors of loudness in dB, such as [-6, 6].")
  noise_dir: str = Field("", description="Local folder of sounds in which nobody speaks.")
  noise_snr_db: _Range = Field((5.0, 30.0), description="Power of a clip over its noise, dB.")
  noise_probability: float = Field(0.0, ge=0, le=1, description="Of a clip to get noise.")
  rir_dir: str = Field("", description="Local folder of room impulse responses.")
  rir_probability: float = Field(0.0, ge=0, le=1, description="Of a clip to be put into a room.")
  noise_only_rate: float = Field(
    0.0, ge=0, lt=1, description="Share of clips that are noise alone, to be answered with nothing."
  )
  noise_only_seconds: _Range = Field((1.0, 10.0), description="Lengths of those clips.")
  curriculum: list[tuple[float, int]] = Field(
    [], description="[until this fraction of the steps, only texts of at most so many words]."
  )
  # Evaluation on eval_split, every eval_interval steps of training and at its end
  eval_clips: Size = Field(
    500, description="Clips that are transcribed at each, always the same; 0: the loss alone."
  )
  eval_samples: Size = Field(
    20, description="Of these, so many go to TensorBoard and to samples.jsonl to be read."
  )
  normalizer: str = Field(
    "basic", description=f"Of both sides before scoring: {', '.join(NORMALIZERS)}."
  )
  early_stopping_patience: Size = Field(
    0, description="The run ends after so many without a lower eval/wer; 0: it never does."
  )
  # Decoding
  split: str = Field("test", description="The split to decode.")
  output: str = Field("", description="Folder of hypotheses; default: {run}/decoded/{split}.")
  decode_checkpoint: str = Field(
    "best",
    description=(
      "best (the lowest eval/wer; without any, the latest), latest or a step of the run, base:"
      " load_parameters_path, or untrained: as drawn."
    ),
  )
  decode_rows: Count = Field(32, description="Clips decoded together on one device.")
  max_new_tokens: Count = Field(512, description="Longest transcript, in tokens.")
  # Length of a run
  epochs: float = Field(
    0.0, ge=0, description="Passes over the data; 0, or steps given after it: so many steps."
  )
  # Survival
  accept_changes: list[str] = Field(
    [],
    description="Of the keys that make a run what it is, those that may change when it goes on.",
  )
  on_oom: Literal["fail", "shrink"] = Field(
    "shrink", description="Out of memory: go on with the same batches in smaller pieces, or fail."
  )
  # Terminal
  verbose: bool = Field(False, description="Show MaxText's and Orbax's information lines.")

  @pydantic.field_validator("decode_checkpoint")
  @classmethod
  def _check_checkpoint(cls, name: str) -> str:
    if name in CHECKPOINTS or (name.isascii() and name.isdigit()):
      return str(int(name)) if name.isdigit() else name
    raise ValueError(f"expected {', '.join(CHECKPOINTS)} or a step")

  @pydantic.field_validator("context")
  @classmethod
  def _check_context(cls, text: str) -> str:
    try:
      text.encode()
    except UnicodeEncodeError as error:
      raise ValueError(
        f"expected UTF-8, and byte {ord(text[error.start]) & 0xFF:#x} is not"
      ) from error
    return text

  @pydantic.field_validator("run_name")
  @classmethod
  def _check_run_name(cls, name: str) -> str:
    if name.startswith("/") or not {".", ".."}.isdisjoint(name.split("/")):
      raise ValueError("expected the name of a folder in base_output_directory")
    return name

  @pydantic.field_validator("trainable_parameters_mask")
  @classmethod
  def _check_mask(cls, mask: list[str]) -> list[str]:
    if mask:
      raise ValueError("give train_parts or lora_rank instead, which also spare optimizer state")
    return mask

  @pydantic.model_validator(mode="after")
  def _check_together(self) -> Self:
    parts.check(self.train_parts, lora_rank=self.lora_rank, num_experts=self.num_experts)
    if self.router_aux_loss_coef and (
      self.num_experts <= 1 or not parts.trains(parts.ROUTER, self)
    ):
      raise ValueError(
        f"router_aux_loss_coef={self.router_aux_loss_coef}, and no router trains: give 0, or train"
        " the router of a model with experts"
      )
    if self.load_balance_loss_weight:
      raise ValueError(
        f"load_balance_loss_weight={self.load_balance_loss_weight} would count padding as tokens:"
        " give router_aux_loss_coef instead, which is num_experts_per_tok times as strong"
      )
    if self.num_experts_per_tok > self.num_experts:
      raise ValueError(
        f"num_experts_per_tok={self.num_experts_per_tok}, expected at most"
        f" num_experts={self.num_experts}"
      )
    get_normalizer(self.normalizer)
    if self.early_stopping_patience and not (self.eval_interval > 0 and self.eval_clips):
      raise ValueError(
        f"early_stopping_patience={self.early_stopping_patience} counts evaluations with"
        " transcripts, and there are none: give eval_interval and eval_clips above 0"
      )
    if self.attention.startswith("cudnn_flash"):
      raise ValueError(
        f"attention={self.attention} does not keep the clips of a row apart: give autoselected or"
        " dot_product"
      )
    if unknown := sorted(set(self.accept_changes) - set(CHANGEABLE)):
      raise ValueError(
        f"accept_changes: {', '.join(unknown)} cannot change within a run; those that can are"
        f" {', '.join(CHANGEABLE)}"
      )
    if self.lora_dropout and not self.lora_rank:
      raise ValueError(f"lora_dropout={self.lora_dropout} without adapters: give lora_rank too")
    return self
