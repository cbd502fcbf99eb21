"""Origin of hypotheses, `decoded.json` beside their shards: run, checkpoint and settings."""

import json
import os
from typing import Any, Self

import pydantic
from etils import epath

from maxtext_ext.files.storage import atomic_open

DECODED_FILE = "decoded.json"


class Decoded(pydantic.BaseModel):
  """Origin of a folder of hypotheses.

  Attributes:
    run: its run_name.
    split: the decoded split.
    checkpoint: "untrained", "base", or "step" of the run.
    step: number of that step.
    normalizer: of the run's own evaluations, so that `evaluate` scores as they do.
    max_new_tokens: where transcripts are cut.
    config: other keys that transcripts depend on.
  """

  model_config = pydantic.ConfigDict(frozen=True, strict=True)

  run: str
  split: str
  checkpoint: str
  step: int | None = None
  normalizer: str
  max_new_tokens: int
  config: dict[str, Any] = {}

  @classmethod
  def of(cls, config: Any, weights: str) -> Self:
    """Builds the record of a configuration and the path of its weights, "" if untrained."""
    checkpoint = config.decode_checkpoint
    step = None
    if checkpoint not in ("untrained", "base"):
      checkpoint, step = "step", int(epath.Path(weights).parent.name)
    keys = ("model_name", "dtype", "language_in_prompt", "context", "lora_rank")
    return cls(
      run=config.run_name,
      split=config.split,
      checkpoint=checkpoint,
      step=step,
      normalizer=config.normalizer,
      max_new_tokens=config.max_new_tokens,
      config={key: getattr(config, key) for key in keys},
    )

  @property
  def weights(self) -> str:
    """Weights that wrote the hypotheses, such as "step 1200" or "the untrained model"."""
    kinds = {"untrained": "the untrained model", "base": "the model before training"}
    return kinds.get(self.checkpoint, f"step {self.step}")

  def write(self, folder: str) -> None:
    """Writes it beside the shards in `folder`, atomically."""
    with atomic_open(os.path.join(folder, DECODED_FILE)) as file:
      json.dump(self.model_dump(), file, ensure_ascii=False, indent=2, default=str)
      file.write("\n")


def remove(folder: str) -> None:
  """Removes the file of an earlier decode, before its shards are overwritten."""
  epath.Path(folder, DECODED_FILE).unlink(missing_ok=True)


def read(path: str | os.PathLike[str]) -> Decoded | None:
  """Reads the record beside hypotheses, a folder or a file; None for those of other systems.

  Raises:
    ValueError: it is malformed.
  """
  place = epath.Path(path)
  file = (place if place.is_dir() else place.parent) / DECODED_FILE
  if not file.exists():
    return None
  try:
    return Decoded.model_validate_json(file.read_bytes())
  except pydantic.ValidationError as error:
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    raise ValueError(f"{file}: {where or 'content'}: {first['msg']}; decode again") from error
