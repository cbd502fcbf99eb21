"""Origin of hypotheses, `decoded.json` beside their shards: run, checkpoint and settings."""

import json
import os
from importlib.metadata import version
from typing import Any, Self

import pydantic
from etils import epath

from maxtext_ext.files.creation import create
from maxtext_ext.keys.decoding import (
  CONTROLS,
  NOT_OF_TRANSCRIPTS,
  DecodingKeys,
  is_path,
  limit_of_tokens,
)
from maxtext_ext.version import __version__

DECODED_FILE = "decoded.json"
PARTS = ".parts"  # ending of the folder of what was put together into one file
_KEYS = ("model_name", "dtype", "language_in_prompt", "context", "lora_rank", "template")
_PACKAGES = ("maxtext", "jax", "jaxlib", "flax")


class Decoded(pydantic.BaseModel):
  """Origin of a folder of hypotheses.

  Attributes:
    run: its run_name.
    split: the decoded split, "" where it is `input`.
    checkpoint: "untrained", "base", or "step" of the run.
    step: number of that step.
    normalizer: of the run's own evaluations, so that `evaluate` scores as they do.
    max_new_tokens: where transcripts are cut.
    config: other keys that transcripts depend on.
    input: the JSONL file or the folder of sound files, where it is no split.
    versions: of the package and of what computes for it, of the job that began.
  """

  model_config = pydantic.ConfigDict(frozen=True, strict=True)

  run: str
  split: str = ""
  checkpoint: str
  step: int | None = None
  normalizer: str
  max_new_tokens: int
  config: dict[str, Any] = {}
  input: str = ""
  versions: dict[str, str] = {}

  @classmethod
  def of(cls, config: Any, weights: str) -> Self:
    """Builds the record of a configuration and the path of its weights, "" if untrained."""
    checkpoint = config.decode_checkpoint
    step = None
    if is_path(checkpoint):
      checkpoint = weights
    elif checkpoint not in ("untrained", "base"):
      checkpoint, step = "step", int(epath.Path(weights).parent.name)
    keys = [
      *_KEYS,
      *(["instruction"] if config.template == "instruct" else []),
      *(["load_parameters_path"] if checkpoint == "base" else []),
      *(["piece_seconds"] if config.decode_input else []),
      *sorted(set(DecodingKeys.model_fields) - NOT_OF_TRANSCRIPTS - {"max_new_tokens"}),
    ]
    return cls(
      run=config.run_name,
      split="" if config.decode_input else config.split,
      checkpoint=checkpoint,
      step=step,
      normalizer=config.normalizer,
      max_new_tokens=config.max_new_tokens,
      config={key: getattr(config, key) for key in keys},
      input=config.decode_input,
      versions={"maxtext_ext": __version__} | {name: version(name) for name in _PACKAGES},
    )

  @property
  def name(self) -> str:
    """Name of the folder of the hypotheses inside that of the run."""
    if not self.input:
      return self.split
    return epath.Path(self.input).name.partition(".jsonl")[0] or "input"

  @property
  def what(self) -> str:
    """Returns the name of the input, such as "split test" or the path of a folder of sound."""
    return self.input or f"split {self.split}"

  @property
  def settings(self) -> dict[str, Any]:
    """Returns the settings that transcripts depend on, beside the sound.

    Without controls at their defaults, which older versions did not have.
    """
    own = ("run", "checkpoint", "step", "max_new_tokens")
    defaults = {name: DecodingKeys.model_fields[name].default for name in CONTROLS}
    config = {
      name: value
      for name, value in self.config.items()
      if name not in CONTROLS or value != defaults[name]
    }
    return {name: getattr(self, name) for name in own} | config

  @property
  def limit(self) -> str:
    """Returns the keys, with their values, that limit the length of a transcript."""
    return limit_of_tokens(self.max_new_tokens, self.config.get("max_tokens_per_second", 0.0))

  @property
  def weights(self) -> str:
    """Weights that wrote the hypotheses, such as "step 1200" or "the untrained model"."""
    kinds = {"untrained": "the untrained model", "base": "the model before training"}
    if is_path(self.checkpoint):
      return self.checkpoint
    return kinds.get(self.checkpoint, f"step {self.step}")

  def write(self, folder: str) -> None:
    """Writes it beside the shards in `folder`; of several jobs the first does."""
    text = json.dumps(self.model_dump(), ensure_ascii=False, indent=2, default=str)
    create(os.path.join(folder, DECODED_FILE), f"{text}\n".encode())


def read(path: str | os.PathLike[str]) -> Decoded | None:
  """Reads the record beside hypotheses, a folder or a file; None for those of other systems.

  That of a file which `tools/batch_inference.py` has put together is in its folder `.parts`.

  Raises:
    ValueError: it is malformed.
  """
  place = epath.Path(path)
  file = (place if place.is_dir() else place.parent) / DECODED_FILE
  parts = place.parent / f"{place.name}{PARTS}" / DECODED_FILE
  if parts.exists():
    file = parts
  if not file.exists():
    return None
  try:
    return Decoded.model_validate_json(file.read_bytes())
  except pydantic.ValidationError as error:
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    raise ValueError(f"{file}: {where or 'content'}: {first['msg']}; decode again") from error
