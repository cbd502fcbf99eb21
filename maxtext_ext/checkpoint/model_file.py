"""What stands beside weights, so that their folder is enough to load them: shape, tokenizer."""

import functools
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any

import jax.numpy as jnp
import numpy as np
from etils import epath
from omegaconf import OmegaConf

from maxtext_ext import bridge
from maxtext_ext.config import load
from maxtext_ext.files import foreign_folder
from maxtext_ext.keys.yml import MODEL_FILE, package_configs, read_yml

TOKENIZER_FILES = (
  *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
  *("added_tokens.json", "special_tokens_map.json"),
)
BASE = "configs/speech.yml"
# How the parameters of that shape are stored.
_STORAGE_KEYS = ("scan_layers", "dtype", "weight_dtype")
_DTYPE_KEYS = ("dtype", "weight_dtype")


@functools.cache
def shape_keys() -> tuple[str, ...]:
  """The keys that describe a model: all that any file of configs/models sets."""
  files = sorted((package_configs() / "models").glob("*.yml"))
  return tuple(dict.fromkeys(key for file in files for key in read_yml(str(file))))


def write_model(config: bridge.Config, folder: str) -> None:
  """Writes `model.yml` and copies the tokenizer, into a folder that may be a URL.

  `Transcriber.from_pretrained` and the key `model_name` take the folder then.
  """
  target = epath.Path(folder)
  target.mkdir(parents=True, exist_ok=True)
  copy_tokenizer(config.tokenizer_path, folder)
  keys = {key: _plain(key, getattr(config, key)) for key in (*shape_keys(), *_STORAGE_KEYS)}
  partial = target / f"{MODEL_FILE}.partial"
  partial.write_text(OmegaConf.to_yaml(OmegaConf.create(keys)))
  partial.replace(target / MODEL_FILE)


def copy_tokenizer(source: str, folder: str) -> None:
  """Copies the files of a tokenizer; does nothing where they lie there already."""
  if os.path.abspath(source) == bridge.absolute(folder):
    return
  for name in TOKENIZER_FILES:
    if (file := foreign_folder.find(source, name)) is not None:
      (epath.Path(folder) / name).write_bytes(file.read_bytes())


@contextmanager
def pretrained_config(
  path: str | os.PathLike[str], overrides: Mapping[str, Any]
) -> Iterator[bridge.Config]:
  """The configuration of a converted checkpoint or a training run, from its path alone.

  Its `load_parameters_path` are the weights. Its tokenizer can be read inside the context; behind
  it the copy that was made of a URL's is gone.

  Args:
    path: the folder, or its URL.
    overrides: keys that win over the folder's.

  Raises:
    ValueError: it is neither, or a key is unknown.
  """
  path = bridge.absolute(os.fspath(path).rstrip("/"))
  with tempfile.TemporaryDirectory() as scratch:
    folder = path
    if "://" in path:
      folder = scratch
      for name in (MODEL_FILE, *TOKENIZER_FILES):
        if (file := foreign_folder.find(path, name)) is not None:
          (epath.Path(folder) / name).write_bytes(file.read_bytes())
    if not os.path.isfile(os.path.join(folder, MODEL_FILE)):
      raise ValueError(
        f"{path}: no {MODEL_FILE} there; expected a checkpoint of `maxtext-ext convert"
        " to-maxtext`, or the folder of a training run"
      )
    yield load(BASE, {"model_name": folder, "load_parameters_path": path, **overrides})


def _plain(key: str, value: Any) -> Any:
  """The value as yaml writes it and a configuration reads it."""
  if key in _DTYPE_KEYS:
    return jnp.dtype(value).name
  if isinstance(value, Enum):
    return value.value
  if isinstance(value, list | tuple):
    return [_plain(key, item) for item in value]
  return value.item() if isinstance(value, np.generic) else value
