"""Preflight checks: the inputs of a run exist, tested before JAX and MaxText are imported."""

import os
from collections.abc import Sequence

from maxtext_ext.checkpoint.packaged import PREFIX
from maxtext_ext.checkpoint.run_file import remembered_base
from maxtext_ext.files.connection import is_url
from maxtext_ext.files.outputs import require_folder_place
from maxtext_ext.keys.decoding import is_path
from maxtext_ext.keys.settings import Settings
from maxtext_ext.keys.yml import MODEL_FILE, models
from maxtext_ext.records.reader import find_shards
from maxtext_ext.text.templates import TEMPLATES

# Folders of a run that MaxText names.
_CHECKPOINTS = "checkpoints"


def check_training(settings: Settings) -> None:
  """Raises ValueError unless tokenizer, weights and data are there; what is at a URL is not asked.

  Their contents are looked at later. Where other processes may wait for this one, all is left to
  the time when they hear of its errors.
  """
  if _among_others(settings):
    return
  _check_tokenizer(settings)
  _check_weights(settings)
  if settings.mixture:
    for data in settings.mixture:
      _check_data(data["data_dir"], data["split"] or settings.train_split)
  else:
    _check_data(settings.data_dir, settings.train_split)
  if settings.eval_interval > 0:
    _check_split(settings, settings.eval_split)


def check_decoding(settings: Settings) -> None:
  """Raises ValueError unless tokenizer, checkpoint and data are there, likewise."""
  if _among_others(settings):
    return
  _check_tokenizer(settings)
  if settings.output:
    require_folder_place(settings.output)
  if settings.decode_input:
    _check_clips(settings.decode_input)
  else:
    _check_split(settings, settings.split)
  if (lm := settings.lm_path) and not is_url(lm):
    require_file(lm)
  which = settings.decode_checkpoint
  if which == "base" and not settings.load_parameters_path:
    raise ValueError("decode_checkpoint=base needs load_parameters_path, which is not given")
  if is_path(which):
    require_folder(which)
  elif which == "base":
    _check_weights(settings)
  elif which != "untrained":
    _check_run(settings, which)


def require_source(path: str) -> None:
  """Raises ValueError unless a checkpoint may be in a folder, on the hub or in a package."""
  if path.startswith(PREFIX):
    return
  could_be_id = path.count("/") == 1 and not path.startswith((".", "/", "~"))
  if not could_be_id and not is_url(path) and not os.path.exists(path):
    raise ValueError(f"{path}: no such folder, and no id of the hub such as Qwen/Qwen3-ASR-0.6B")
  if any(os.path.exists(os.path.join(path, name)) for name in (MODEL_FILE, _CHECKPOINTS)):
    raise ValueError(
      f"{path} is in MaxText's layout already: train from it with load_parameters_path, or write it"
      " as Hugging Face has it with `maxtext-ext convert to-hf`"
    )


def require_folder(*paths: str | os.PathLike[str] | None) -> None:
  """Raises ValueError unless the folders of checkpoints are there; None and URLs are not asked."""
  for path in paths:
    if path is not None and not is_url(os.fspath(path)) and not os.path.exists(path):
      raise ValueError(f"{path}: no such folder, so no checkpoint there")


def require_file(path: str | os.PathLike[str]) -> None:
  """Raises ValueError unless a local file is there."""
  if not os.path.isfile(path):
    raise ValueError(f"{path}: no such file")


def require_recordings(paths: Sequence[str]) -> None:
  """Raises ValueError unless local sound files are there; URLs are not asked."""
  for path in paths:
    if is_url(path):
      continue
    if os.path.isdir(path):
      raise ValueError(
        f"{path} is a folder, expected sound files; for all files in it: maxtext-ext decode CONFIG"
        f" decode_input={path}"
      )
    require_file(path)


def run_folder(settings: Settings) -> str:
  """Returns the folder of everything that the run writes."""
  return os.path.join(settings.base_output_directory, settings.run_name)


def check_input(settings: Settings, split: str) -> None:
  """Raises ValueError when keys of the input do not fit together; imports JAX."""
  from maxtext_ext.input.config import InputConfig

  InputConfig.from_config(settings, split=split, rows=1)


def _among_others(settings: Settings) -> bool:
  told = any(os.environ.get(name) for name in ("JAX_COORDINATOR_ADDRESS", "JAX_COORDINATOR_IP"))
  knows = settings.hardware in ("tpu", "gpu_multiprocess")
  return (told or knows) and not settings.skip_jax_distributed_system


def _check_tokenizer(settings: Settings) -> None:
  if settings.tokenizer_path:
    TEMPLATES[settings.template].open(settings.tokenizer_path)
    return
  name = settings.model_name
  remedy = "name a folder with tokenizer.json"
  if name in models():
    remedy += (
      ", such as that of a converted checkpoint: `maxtext-ext convert to-maxtext"
      " Qwen/Qwen3-ASR-0.6B OUT`, then model_name=OUT"
    )
  raise ValueError(f"tokenizer_path is not given, and model_name={name} has none: {remedy}")


def _check_weights(settings: Settings) -> None:
  path = settings.load_parameters_path
  if not path or is_url(path) or os.path.exists(path):
    return
  moved = remembered_base(run_folder(settings))
  if not (moved and (is_url(moved) or os.path.exists(moved))):
    raise ValueError(
      f"load_parameters_path: {path}: no such folder; name the one where these weights are now, or"
      f" make it with `maxtext-ext convert to-maxtext SOURCE {path}`"
    )


def _check_split(settings: Settings, split: str) -> None:
  folders = [settings.data_dir] if settings.data_dir or not settings.mixture else []
  for folder in folders or [data["data_dir"] for data in settings.mixture]:
    _check_data(folder, split)


def _check_data(folder: str, split: str) -> None:
  if not folder:
    raise ValueError(
      "data_dir is not given: name a folder with ArrayRecord shards, which `maxtext-ext data"
      " convert` makes"
    )
  if not is_url(folder):
    find_shards(folder, split)


def _check_clips(path: str) -> None:
  if not is_url(path) and not os.path.exists(path):
    raise ValueError(
      f"decode_input={path}: no such file or folder; expected a JSONL file, or a folder of sound"
      " files"
    )


def _check_run(settings: Settings, which: str) -> None:
  folder = os.path.join(run_folder(settings), _CHECKPOINTS)
  if is_url(folder):
    return
  names = os.listdir(folder) if os.path.isdir(folder) else []
  steps = sorted(int(name) for name in names if name.isdigit())
  if not steps or (which.isdigit() and int(which) not in steps):
    there = ", ".join(map(str, steps)) or "none"
    raise ValueError(
      f"no checkpoint {which} in {folder} (there: {there}); train first, give run_name or"
      " base_output_directory of a run that is there, or decode_checkpoint=base for the weights of"
      " load_parameters_path"
    )
