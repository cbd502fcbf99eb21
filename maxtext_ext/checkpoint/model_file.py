"""Model shape and tokenizer beside weights, so that their folder suffices to load them."""

import functools
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any

import jax.numpy as jnp
import numpy as np
import yaml
from etils import epath

from maxtext_ext import bridge
from maxtext_ext.checkpoint.adapter import read_record
from maxtext_ext.checkpoint.training import find_weights, with_base_weights
from maxtext_ext.config import load
from maxtext_ext.files import foreign_folder
from maxtext_ext.keys.settings import read
from maxtext_ext.keys.yml import MODEL_FILE, package_configs, read_yml
from maxtext_ext.run_identity import fingerprint_of_keys, is_of_decoding, is_of_model
from maxtext_ext.text import alphabet

TOKENIZER_FILES = (
  *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
  *("added_tokens.json", "special_tokens_map.json"),
  alphabet.FILE,
)
BASE = "configs/speech.yml"
# How the parameters of that shape are stored.
_STORAGE_KEYS = ("scan_layers", "dtype", "weight_dtype")
# What MaxText's files write where a value is not given, and what its classes make of it.
_NOTHING = frozenset(("", "0", "None", "[]", "false", "none", "null"))
_WEIGHTS = "load_parameters_path"
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
  names = (*shape_keys(), *_STORAGE_KEYS, *_unusual_keys(config))
  keys = {key: _plain(key, getattr(config, key)) for key in names}
  partial = target / f"{MODEL_FILE}.partial"
  partial.write_text(dump_model(keys))
  partial.replace(target / MODEL_FILE)


def _unusual_keys(config: bridge.Config) -> list[str]:
  """Returns other keys that transcripts depend on, where they differ from BASE."""
  ours, usual = fingerprint_of_keys(bridge.keys_of(config)), _usual_keys()
  return [
    key
    for key, value in ours.items()
    if is_of_model(key)
    and not is_of_decoding(key)
    and usual.get(key, value) != value
    and not _NOTHING.issuperset((value, usual[key]))
  ]


@functools.cache
def _usual_keys() -> dict[str, str]:
  return fingerprint_of_keys(read(BASE).values)


def dump_model(keys: Mapping[str, Any]) -> str:
  """Returns the text of a model.yml, written without OmegaConf, which would expand `${...}`."""
  return yaml.safe_dump(dict(keys), sort_keys=False, allow_unicode=True)


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
    overrides: keys that override the folder's; of a LoRA run's folder, `load_parameters_path` names
      its base weights and is left to `base_among`.

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
    keys = {"model_name": folder, _WEIGHTS: path, **overrides}
    if (given := overrides.get(_WEIGHTS)) and _holds_adapters(path) and not _holds_adapters(given):
      keys[_WEIGHTS] = path
    yield with_base_weights(load(BASE, keys))


def base_among(overrides: Mapping[str, Any]) -> str:
  """The base weights that the overrides of a LoRA run name; empty: none."""
  explicit = overrides.get(_WEIGHTS)
  if not explicit or _holds_adapters(explicit):
    return ""
  return bridge.absolute(find_weights(os.fspath(explicit)))


def _holds_adapters(path: str | os.PathLike[str]) -> bool:
  """Returns whether a path holds adapters rather than full weights or nothing."""
  try:
    return read_record(find_weights(os.fspath(path))) is not None
  except ValueError:
    return False


def _plain(key: str, value: Any) -> Any:
  """The value as yaml writes it and a configuration reads it."""
  if key in _DTYPE_KEYS:
    return jnp.dtype(value).name
  if isinstance(value, Enum):
    return value.value
  if isinstance(value, list | tuple):
    return [_plain(key, item) for item in value]
  return value.item() if isinstance(value, np.generic) else value
