"""adapter_config.json of PEFT: which modules a LoRA adapts, with which rank and scale.

Source: `LoraConfig`, `check_target_module_exists` and `get_pattern_key` of peft 0.21.
"""

import math
import re
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, Self

import pydantic
from pydantic import Field

from maxtext_ext.files import foreign_json
from maxtext_ext.files.foreign_json import Off, shown

FILE = "adapter_config.json"
ADAPTER_FOLDER = "adapter"  # beside the folders of a model's parts
_EVERY_LINEAR = "all-linear"
_FIRST_NUMBER = r".*?\.[^.]*\.(?P<idx>\d+)\."  # the layer's, not that of an expert inside it


def _regular[Patterns: str | list | dict](patterns: Patterns) -> Patterns:
  """The patterns; raises ValueError where one is no regular expression."""
  for pattern in [patterns] if isinstance(patterns, str) else patterns:
    try:
      re.compile(pattern)
    except re.error as error:
      raise ValueError(f"regular expressions; {shown(pattern)} is none ({error})") from error
  return patterns


def _names(names: str | list[str]) -> str | list[str]:
  """Ends of names as they are, or one regular expression."""
  return _regular(names) if isinstance(names, str) else names


_Rank = Annotated[int, Field(ge=1, le=2**16)]
_Alpha = Annotated[float, Field(gt=0, le=1e9)]
_Text = Annotated[str, Field(max_length=10_000)]
_Names = Annotated[_Text | list[_Text], pydantic.AfterValidator(_names)]
_Patterns = Annotated[_Text | list[_Text], pydantic.AfterValidator(_regular)]
_Ranks = Annotated[dict[_Text, _Rank], pydantic.AfterValidator(_regular)]
_Alphas = Annotated[dict[_Text, _Alpha], pydantic.AfterValidator(_regular)]
_Nothing = Annotated[list[Any], Field(max_length=0)]


class PeftConfig(foreign_json.Settings):
  """A LoRA adapter's settings, as far as they change what it computes."""

  NEUTRAL: ClassVar[frozenset[str]] = frozenset(
    {
      *("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision"),
      *("task_type", "lora_dropout", "megatron_core", "qalora_group_size", "runtime_config"),
      "eva_config",  # how A was drawn, and ranks, which stand in rank_pattern
    }
  )

  peft_type: Literal["LORA"]
  r: _Rank
  lora_alpha: _Alpha
  target_modules: _Names
  exclude_modules: _Names | None = None
  layers_to_transform: int | list[int] | None = None
  layers_pattern: _Patterns | None = None
  rank_pattern: _Ranks = Field(default_factory=dict)
  alpha_pattern: _Alphas = Field(default_factory=dict)
  use_rslora: bool = False
  # Ways to draw A and B. Others (pissa, olora, corda, loftq, lora_ga) change the base weights too.
  init_lora_weights: bool | Literal["gaussian", "orthogonal", "eva"] = True
  bias: Literal["none"] = "none"
  fan_in_fan_out: Off = False
  lora_bias: Off = False
  use_dora: Off = False
  use_qalora: Off = False
  ensure_weight_tying: Off = False
  modules_to_save: _Nothing | None = None
  layer_replication: _Nothing | None = None
  trainable_token_indices: _Nothing | None = None
  alora_invocation_tokens: _Nothing | None = None
  target_parameters: _Nothing | None = None
  loftq_config: Annotated[dict[str, Any], Field(max_length=0)] | None = None

  @pydantic.model_validator(mode="after")
  def _layers_of_a_list(self) -> Self:
    if isinstance(self.target_modules, str):
      for key in ("layers_to_transform", "layers_pattern"):
        if getattr(self, key) is not None:
          raise ValueError(f"no {key} beside target_modules that are one regular expression")
    if self.layers_pattern and self.layers_to_transform is None:
      raise ValueError("layers_to_transform beside layers_pattern")
    return self

  def is_adapted(self, module: str) -> bool:
    """Returns whether the adapter changes a linear map, by its name in the model."""
    if _matches(self.exclude_modules or [], module):
      return False
    if self.target_modules == _EVERY_LINEAR:
      return True
    return _matches(self.target_modules, module) and self._is_chosen_layer(module)

  def _is_chosen_layer(self, module: str) -> bool:
    if self.layers_to_transform is None or self.layers_to_transform == []:
      return True
    chosen = self.layers_to_transform
    chosen = [chosen] if isinstance(chosen, int) else chosen
    lists = self.layers_pattern or []
    lists = [lists] if isinstance(lists, str) else lists
    patterns = [rf"(?:^|.*?\.){name}\.(?P<idx>\d+)\." for name in lists] or [_FIRST_NUMBER]
    found = next((match for p in patterns if (match := re.match(p, module))), None)
    return found is not None and int(found["idx"]) in chosen

  def rank(self, module: str) -> int:
    """Rows of a module's A."""
    return self.rank_pattern.get(_pattern_of(self.rank_pattern, module), self.r)

  def alpha(self, module: str) -> float:
    """A module's alpha."""
    return self.alpha_pattern.get(_pattern_of(self.alpha_pattern, module), self.lora_alpha)

  def scale(self, module: str) -> float:
    """The factor of a module's B A."""
    rank = self.rank(module)
    return self.alpha(module) / (math.sqrt(rank) if self.use_rslora else rank)


def read(data: bytes, source: str) -> PeftConfig:
  """The settings of an adapter_config.json.

  Raises:
    ValueError: it is damaged, or asks for more than LoRA of linear maps.
  """
  content = foreign_json.parse(data, source)
  return foreign_json.check(PeftConfig, content, source)


def _matches(names: str | list[str], module: str) -> bool:
  if isinstance(names, str):
    return re.fullmatch(names, module) is not None
  return module in names or any(module.endswith(f".{name}") for name in names)


def _pattern_of(patterns: Iterable[str], module: str) -> str:
  """The first pattern that the end of a module's name matches."""
  return next((p for p in patterns if re.match(rf"(.*\.)?({p})$", module)), module)
