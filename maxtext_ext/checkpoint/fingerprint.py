"""Run fingerprint: the settings that define a run, stored with it and compared on resuming.

It holds the keys that count (`run_identity`) and the contents of what they name: tokenizer, data,
noise, base weights. It stands in `run.json` of the run's folder and in each checkpoint. A run of an
earlier version has none; then its `model.yml` and its copy of the tokenizer are compared.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from etils import epath

from maxtext_ext import bridge
from maxtext_ext.audio.sounds import find_sounds
from maxtext_ext.checkpoint.base import run_of
from maxtext_ext.checkpoint.integrity import STEP_METADATA
from maxtext_ext.checkpoint.run_file import BASE_PLACE, read_json, read_run, write_run
from maxtext_ext.files import storage
from maxtext_ext.keys.yml import MODEL_FILE
from maxtext_ext.records import manifest
from maxtext_ext.records.reader import find_shards
from maxtext_ext.run_identity import (
  CHANGEABLE,
  describe_differences,
  differing_keys,
  fingerprint_of_keys,
  is_of_decoding,
  is_of_model,
)
from maxtext_ext.text.alphabet import Alphabet
from maxtext_ext.text.templates import TEMPLATES
from maxtext_ext.text.tokenizer import Tokenizer

# Under these keys stands what lies at the places that they name.
_TOKENIZER = "tokenizer_path"
_BASE = "load_parameters_path"
_DATA, _DATA_CHECKSUMS = "data_dir", "data_dir checksums"
_NOISE, _ROOMS = "noise_dir", "rir_dir"
_FINGERPRINT = "fingerprint"  # in run.json and in a checkpoint's metadata

Fingerprint = dict[str, str]

_log = logging.getLogger(__name__)


def fingerprint_of(config: bridge.Config, *, base_identity: str = "") -> Fingerprint:
  """The fingerprint of the run that a configuration describes.

  Args:
    base_identity: of the weights that it starts from; empty: of none.

  Raises:
    ValueError: tokenizer or data are not there.
  """
  contents = {_TOKENIZER: _checksum_of_tokenizer(config)}
  contents |= _of_data(config)
  if config.noise_probability or config.noise_only_rate:
    contents[_NOISE] = _of_files(find_sounds(config.noise_dir))
  if config.rir_probability:
    contents[_ROOMS] = _of_files(find_sounds(config.rir_dir))
  if base_identity:
    contents[_BASE] = base_identity
  return fingerprint_of_keys(bridge.keys_of(config)) | contents


def _checksum_of_tokenizer(config: bridge.Config) -> str:
  return TEMPLATES[config.template].open(config.tokenizer_path).checksum()


def _of_data(config: bridge.Config) -> Fingerprint:
  """Sizes of the shards that training reads, and their checksums where all have manifests."""
  datasets = [
    (data["name"], data["data_dir"], data["split"] or config.train_split) for data in config.mixture
  ] or [("", config.data_dir, config.train_split)]
  sizes, checksums = [], []
  for name, folder, split in datasets:
    shards = find_shards(folder, split)
    label = f"{name} {split}".strip()
    sizes.append(f"{label} {_of_files(shards)}")
    if stored := manifest.read_manifest(folder, split):
      parts = [f"{shard.name} {shard.records} {shard.crc32c}" for shard in stored.shards]
      checksums.append(f"{label} {stored.records} records {_digest(parts)}")
  if len(checksums) < len(datasets):
    return {_DATA: ", ".join(sizes)}
  return {_DATA: ", ".join(sizes), _DATA_CHECKSUMS: ", ".join(checksums)}


def _of_files(paths: Sequence[str]) -> str:
  """Describes files: their number, their bytes, and a digest of their names and sizes."""
  sizes = storage.sizes_of(paths)
  named = [f"{os.path.basename(path)} {size}" for path, size in zip(paths, sizes, strict=True)]
  return f"{len(paths)} files of {sum(sizes)} bytes {_digest(named)}"


def _digest(parts: Iterable[str]) -> str:
  return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def read_fingerprint(run_dir: str, checkpoint: str = "") -> Fingerprint:
  """Reads the fingerprint of a run; empty where none is known.

  Args:
    run_dir: its folder.
    checkpoint: the one of its checkpoints that counts; empty: the newest that has a fingerprint.
  """
  folders = [epath.Path(checkpoint)] if checkpoint else _newest_first(run_dir)
  for folder in folders:
    if stored := _metadata(folder).get(_FINGERPRINT):
      return dict(stored)
  return dict(read_run(run_dir).get(_FINGERPRINT, {})) or _of_files_beside(run_dir)


def _newest_first(run_dir: str) -> list[epath.Path]:
  folder = epath.Path(run_dir) / "checkpoints"
  steps = [child for child in folder.iterdir() if child.name.isdigit()] if folder.exists() else []
  return sorted(steps, key=lambda child: -int(child.name))


def _metadata(checkpoint: epath.Path) -> Mapping[str, Any]:
  return read_json(os.fspath(checkpoint / STEP_METADATA)).get("custom_metadata") or {}


def _of_files_beside(run_dir: str) -> Fingerprint:
  """Computes it for a checkpoint without fingerprint, from its model.yml and tokenizer."""
  result: Fingerprint = {}
  if (file := epath.Path(run_dir) / MODEL_FILE).exists():
    keys = fingerprint_of_keys(yaml.safe_load(file.read_text()))
    result |= {key: value for key, value in keys.items() if is_of_model(key)}
  if Tokenizer.is_in(run_dir):
    result[_TOKENIZER] = Tokenizer.from_directory(run_dir).checksum()
  elif Alphabet.is_in(run_dir):
    result[_TOKENIZER] = Alphabet.from_directory(run_dir).checksum()
  return result


def check_model(
  config: bridge.Config, items: str, *, tokenizer: bool = True, prompt: bool = True
) -> None:
  """Compares a configuration with the model of saved weights.

  Keys of training or display may differ. Prompts may differ on purpose, so they cause a warning.

  Args:
    config: its model is to be given the weights.
    items: the weights.
    tokenizer: compare it too.
    prompt: compare how prompts are written too; otherwise each call says so for itself.

  Raises:
    ValueError: model or tokenizer are others.
  """
  wrong, told = _differences(config, items, tokenizer=tokenizer)
  if wrong:
    raise ValueError(
      f"{items} is of another model: {'; '.join(wrong)}. Give the old values, or weights of this"
      " model"
    )
  if prompt and told:
    _log.warning("decoding differs from the training of %s: %s", items, "; ".join(told))


def warn_of_other_model(config: bridge.Config, items: str) -> None:
  """Warns where a model that starts from saved weights differs from theirs."""
  wrong, _ = _differences(config, items, tokenizer=True)
  if wrong:
    _log.warning("training starts from weights of another model, %s: %s", items, "; ".join(wrong))


def _differences(
  config: bridge.Config, items: str, *, tokenizer: bool
) -> tuple[list[str], list[str]]:
  """Describes the differences in the model, and those in its prompts."""
  stored = _beside(items)
  ours = fingerprint_of_keys(bridge.keys_of(config))
  if tokenizer:
    ours[_TOKENIZER] = _checksum_of_tokenizer(config)
  changed = [key for key in differing_keys(ours, stored, both=True) if is_of_model(key)]
  wrong = [key for key in changed if not is_of_decoding(key)]
  told = [key for key in changed if is_of_decoding(key)]
  return (
    describe_differences(ours, stored, keys=wrong),
    describe_differences(ours, stored, keys=told),
  )


def _beside(items: str) -> Fingerprint:
  """Reads the fingerprint of saved weights: of a run, or of a converted checkpoint."""
  checkpoint = epath.Path(bridge.absolute(items)).parent
  return read_fingerprint(run_of(items) or os.fspath(checkpoint.parent), os.fspath(checkpoint))


def metadata_of(fingerprint: Fingerprint) -> dict[str, Any]:
  """The fingerprint as a checkpoint's metadata holds it."""
  return {_FINGERPRINT: fingerprint}


def write_fingerprint(run_dir: str, fingerprint: Fingerprint, base_path: str) -> None:
  """Stores it in `run.json`, with the path of the base weights."""
  write_run(run_dir, **metadata_of(fingerprint), **({BASE_PLACE: base_path} if base_path else {}))


def refusal(
  stored: Fingerprint, ours: Fingerprint, run_dir: str, *, accepted: Sequence[str] = ()
) -> str:
  """Explains in one line why a configuration may not resume a run; empty: it may.

  Args:
    stored: of the run; what it lacks is not compared.
    ours: of the configuration.
    run_dir: the run's folder.
    accepted: keys whose new values are intended (`accept_changes`).
  """
  taken = {*accepted, *([_DATA_CHECKSUMS] if _DATA in accepted else [])}
  changed = [key for key in differing_keys(ours, stored, both=True) if key not in taken]
  if not changed:
    return ""
  named = list(dict.fromkeys(_DATA if key == _DATA_CHECKSUMS else key for key in changed))
  remedy = "give the old values, or another run_name"
  if {*named} <= {*CHANGEABLE}:
    remedy += f", or accept_changes=[{','.join(named)}] to resume with the new ones"
  if _BASE in changed and (place := read_run(run_dir).get(BASE_PLACE)):
    remedy += f" (the base weights lay at {place}; a copy of them will do)"
  differences = "; ".join(describe_differences(ours, stored, keys=changed))
  return f"{run_dir} holds a different run: {differences}. To resume, {remedy}"
