"""Checkpoints of a training run: state and input position, saved and restored together."""

import dataclasses
import json
import os
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import nnx
from jax.experimental import multihost_utils

from maxtext_ext import bridge
from maxtext_ext.checkpoint.adapter import (
  ADAPTER,
  AdapterRecord,
  read_record,
  restore,
  trained_part,
)

# Names of the parts of a checkpoint. MaxText calls the state so; its tools look for this name.
STATE = "items"
INPUT = "input"
# What Orbax writes into the folder of a tree of arrays.
TREE = "_METADATA"
# The folder of a run's checkpoints, as MaxText names it.
CHECKPOINTS = "checkpoints"


class TrainingCheckpoints:
  """The checkpoints of a run, one folder a step, named by the number of completed steps.

  Args:
    manager: `bridge.checkpoint_manager`'s, or None: nothing is saved or found.
    adapter: of a LoRA run: its checkpoints hold adapters without the base weights.

  Raises:
    ValueError: the run's latest checkpoint is of other adapters, or of whole weights.
  """

  def __init__(
    self, manager: Any | None, *, background: bool, adapter: AdapterRecord | None = None
  ) -> None:
    self._manager = manager
    self._background = background
    self._adapter = adapter
    if (step := self.latest()) is not None:
      self._check(step)

  def _check(self, step: int) -> None:
    """The checkpoint must be of this kind of run; what an imported adapter said is kept."""
    place = os.path.join(self._manager.directory, str(step), STATE)
    stored = read_record(place)
    if (self._adapter is None) != (stored is None):
      holds, remedy = ("whole weights", "0") if stored is None else ("adapters", stored.lora.rank)
      raise ValueError(
        f"{place} holds {holds}: give lora_rank={remedy} to go on with them, or another run_name"
      )
    if self._adapter is not None:
      self._adapter.require_same(stored, place)
      self._adapter = dataclasses.replace(self._adapter, peft=stored.peft)

  def latest(self) -> int | None:
    """The newest whole checkpoint's number of steps; None when there is none."""
    if self._manager is None or (latest := self._manager.latest) is None:
      return None
    return latest.step

  def save(self, step: int, state: nnx.State, position: dict[str, Any]) -> None:
    """Saves the state after `step` steps with this host's input position; every host calls it."""
    if self._manager is None:
      return
    whole = self._adapter is None
    parts = {
      STATE: bridge.to_checkpoint(state if whole else trained_part(state, self._adapter.saved)),
      INPUT: {"hosts": json.dumps(_gather(json.dumps(position)))},
    }
    if not whole:
      parts[ADAPTER] = {"record": self._adapter.to_json()}
    if self._background:
      self._manager.save_checkpointables_async(step, parts, force=True)
    else:
      self._manager.save_checkpointables(step, parts, force=True)

  def restore_adapters(self, state: nnx.State) -> nnx.State:
    """A LoRA run's state, in which the base weights are, with the rest of its latest checkpoint."""
    if (step := self.latest()) is None:
      return state
    return restore(self._manager, step, STATE, state, self._adapter.saved)

  def positions(self, step: int) -> list[dict[str, Any]]:
    """The input positions at `step` of all hosts that wrote the checkpoint, in their order."""
    assert self._manager is not None
    hosts = json.loads(self._manager.load_checkpointables(step, {INPUT: None})[INPUT]["hosts"])
    return [json.loads(position) for position in hosts]

  def close(self) -> None:
    """Waits for a save in the background."""
    if self._manager is not None:
      self._manager.close()


def _gather(text: str) -> list[str]:
  """One string of every host, in their order."""
  if jax.process_count() == 1:
    return [text]
  data = np.frombuffer(text.encode(), np.uint8)
  lengths = multihost_utils.process_allgather(np.asarray(len(data)))
  padded = np.zeros(int(lengths.max()), np.uint8)
  padded[: len(data)] = data
  rows = multihost_utils.process_allgather(padded)
  return [bytes(row[:length]).decode() for row, length in zip(rows, lengths, strict=True)]


def find_checkpoint(checkpoint_dir: str, which: str) -> str:
  """The path of a run's weights: `latest` or a number of steps.

  Raises:
    ValueError: when there is no such checkpoint; lists those there are.
  """
  steps = sorted(int(name) for name in _listdir(checkpoint_dir) if name.isdigit())
  wanted = steps[-1:] if which == "latest" else [s for s in steps if str(s) == which]
  if not wanted:
    there = ", ".join(map(str, steps)) or "none"
    raise ValueError(
      f"no checkpoint {which} in {checkpoint_dir} (there: {there}); train first, give run_name or"
      " base_output_directory of a run that is there, or decode_checkpoint=base for the weights of"
      " load_parameters_path"
    )
  return os.path.join(checkpoint_dir, str(wanted[0]), STATE)


def find_weights(path: str) -> str:
  """The weights that a path means.

  Args:
    path: a converted checkpoint, a run (its latest checkpoint), a folder of checkpoints, one of
      them, or its `items`; local or a URL.

  Raises:
    ValueError: there is nothing of the kind.
  """
  names = _listdir(path)
  if CHECKPOINTS in names:
    return find_checkpoint(os.path.join(path, CHECKPOINTS), "latest")
  if any(name.isdigit() for name in names):
    return find_checkpoint(path, "latest")
  if STATE in names:
    return os.path.join(path, STATE)
  if TREE not in names:
    raise ValueError(f"{path}: no checkpoint there; expected what training or conversion wrote")
  return path


def _listdir(path: str) -> list[str]:
  folder = epath.Path(path)
  return [child.name for child in folder.iterdir()] if folder.exists() else []
