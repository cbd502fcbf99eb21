"""Checkpoints of a training run: state and input position, saved and restored together."""

import contextlib
import dataclasses
import functools
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from etils import epath
from flax import nnx

from maxtext_ext import bridge
from maxtext_ext.checkpoint.adapter import (
  ADAPTER,
  AdapterRecord,
  read_record,
  restore,
  trained_part,
)
from maxtext_ext.checkpoint.best import ranked
from maxtext_ext.checkpoint.integrity import TREE_METADATA, find_corruption, write_checksums
from maxtext_ext.checkpoint.run_file import remembered_base
from maxtext_ext.config import run_dir_of
from maxtext_ext.errors import UnfinishedWork
from maxtext_ext.models.parameter_groups import InGroups
from maxtext_ext.parallel import gather_texts

# Names of the parts of a checkpoint. MaxText calls the state so; its tools look for this name.
STATE = "items"
INPUT = "input"
# The folder of a run's checkpoints, as MaxText names it.
CHECKPOINTS = "checkpoints"
_CUT = "%s is cut short (%s): passed over"
# Ends of names: of a folder while Orbax fills it, and of one that is passed over for good.
_UNFINISHED = ".orbax-checkpoint-tmp"
_CUT_SHORT = ".cut-short"

_log = logging.getLogger(__name__)


class TrainingCheckpoints:
  """The checkpoints of a run, one folder a step, named by the number of completed steps.

  Args:
    manager: `bridge.checkpoint_manager`'s, or None: nothing is saved or found.
    adapter: of a LoRA run: its checkpoints hold adapters without the base weights.
    saved: of a LoRA run: the filter of the parameters that its checkpoints hold.
    metadata: goes into each checkpoint as JSON: what run it is of.

  Raises:
    ValueError: the run's latest checkpoint is of other adapters, or of full weights.
  """

  def __init__(
    self,
    manager: Any | None,
    *,
    background: bool,
    adapter: AdapterRecord | None = None,
    saved: InGroups | None = None,
    metadata: dict[str, Any] | None = None,
  ) -> None:
    assert (adapter is None) == (saved is None), "only a LoRA run's checkpoints leave weights out"
    self._manager = manager
    self._background = background
    self._adapter, self._saved = adapter, saved
    self._metadata = metadata
    self._thread = ThreadPoolExecutor(1, "checkpoint")
    self._saving: tuple[int, Future[None]] | None = None  # step, and its end
    self._failed = False
    if (step := self.latest()) is not None:
      self._check(step)

  def _check(self, step: int) -> None:
    """Checks that the checkpoint is of this kind of run; keeps an imported adapter's record."""
    place = self._items(step)
    stored = read_record(place)
    if self._adapter is not None and stored is not None:
      self._adapter.require_same(stored, place)
      self._adapter = dataclasses.replace(self._adapter, peft=stored.peft)
    elif self._adapter is not None or stored is not None:
      holds, remedy = ("full weights", "0") if stored is None else ("adapters", stored.lora.rank)
      raise ValueError(
        f"{place} holds {holds}: give lora_rank={remedy} to resume with them, or another run_name"
      )

  def latest(self) -> int | None:
    """The newest checkpoint's number of steps, one being saved included; None: there is none."""
    if self._manager is None or (latest := self._manager.latest) is None:
      return None
    return latest.step

  def steps(self) -> list[int]:
    """The number of steps of each checkpoint."""
    if self._manager is None:
      return []
    return [checkpoint.step for checkpoint in self._manager.checkpoints]

  def save(self, step: int, state: nnx.State, position: dict[str, Any]) -> None:
    """Saves the state after `step` steps with this host's input position; every host calls it.

    Nothing happens when that checkpoint is there.

    Raises:
      UnfinishedWork: this checkpoint, or the one before it in the background, could not be saved.
    """
    if self._manager is None or step == self.latest():
      return
    self._finish()
    saved = state if self._saved is None else trained_part(state, self._saved)
    parts = {
      STATE: bridge.to_checkpoint(saved),
      INPUT: {"hosts": json.dumps(gather_texts(json.dumps(position)))},
    }
    if self._adapter is not None:
      parts[ADAPTER] = {"record": self._adapter.to_json()}
    _drop_closed_loop_reports()
    with self._explained(step):
      if self._background:
        answer = self._manager.save_checkpointables_async(
          step, parts, force=True, custom_metadata=self._metadata
        )
        self._saving = step, self._thread.submit(self._commit, step, answer)
      else:
        self._manager.save_checkpointables(step, parts, force=True, custom_metadata=self._metadata)
        write_checksums(self._folder(step))

  def _commit(self, step: int, answer: Any) -> None:
    """Waits for Orbax, then adds the checksums: before the next save, which may remove this one."""
    answer.result()
    write_checksums(self._folder(step))

  def _folder(self, step: int) -> str:
    assert self._manager is not None
    return os.path.join(self._manager.directory, str(step))

  def _items(self, step: int) -> str:
    return os.path.join(self._folder(step), STATE)

  def check(self) -> None:
    """Checks the save in the background without waiting.

    Raises:
      UnfinishedWork: it failed.
    """
    if self._saving is not None and self._saving[1].done():
      self._finish()

  def _finish(self) -> None:
    """Waits for the save in the background."""
    if self._saving is None:
      return
    step, end = self._saving
    with self._explained(step):
      end.result()
    self._saving = None

  @contextlib.contextmanager
  def _explained(self, step: int) -> Iterator[None]:
    """Turns an error of saving into one line that names the remaining checkpoints."""
    self._failed = True
    try:
      yield
    except (OSError, ValueError) as error:  # TensorStore's are ValueError
      assert self._manager is not None
      kept = self._kept()
      raise UnfinishedWork(
        f"the checkpoint of step {step} could not be saved in {self._manager.directory}:"
        f" {_reason(error)}; {kept}. Free space or fix the permissions, then run the same command"
      ) from error
    self._failed = False

  def _kept(self) -> str:
    """Describes the checkpoints that remain when a save has failed."""
    assert self._manager is not None
    directory = str(self._manager.directory)
    if "://" in directory:
      return "the newest complete one is kept"  # which it is cannot be asked there now
    there, _ = _newest_whole(directory)
    if there is None:
      return "there is no checkpoint"
    return f"the checkpoint of step {there} is complete"

  def read_by(self, base: str) -> list[str]:
    """Lists the weights that a run with these checkpoints starts from.

    Args:
      base: its `load_parameters_path`, which is read when there is no checkpoint, or an adapter.
    """
    step = self.latest()
    own = [] if step is None else [self._items(step)]
    return own if own and self._adapter is None else [base, *own]

  def restore_adapters(self, state: nnx.State) -> nnx.State:
    """A LoRA run's state, in which the base weights are, with the rest of its latest checkpoint."""
    if (step := self.latest()) is None:
      return state
    assert self._saved is not None
    return restore(self._manager, step, STATE, state, self._saved)

  def positions(self, step: int) -> list[dict[str, Any]]:
    """The input positions at `step` of all hosts that wrote the checkpoint, in their order."""
    assert self._manager is not None
    hosts = json.loads(self._manager.load_checkpointables(step, {INPUT: None})[INPUT]["hosts"])
    return [json.loads(position) for position in hosts]

  def close(self) -> None:
    """Waits for a save in the background.

    After a failed save it does not wait: Orbax's threads may never end.

    Raises:
      UnfinishedWork: it failed.
    """
    if self._manager is None or self._failed:
      return
    self._finish()
    self._thread.shutdown()
    self._manager.close()


def _reason(error: Exception) -> str:
  """Returns the reason of a failed write, without TensorStore's chain of layers."""
  code = re.search(r"os_error_code='(\d+)'", str(error))
  return os.strerror(int(code[1])) if code else str(error).partition(" [tensorstore_spec=")[0]


def set_aside(checkpoint_dir: str) -> None:
  """Moves incomplete checkpoints out of the way of a resuming run; on one host, before others.

  An incomplete newest checkpoint is renamed and otherwise kept: it may be a copy that can be
  finished. Temporary folders of a killed save are removed.
  """
  _, torn = _newest_whole(checkpoint_dir)
  for step, reason in torn:
    folder = epath.Path(checkpoint_dir) / str(step)
    target = epath.Path(f"{folder}{_CUT_SHORT}")
    if target.exists():
      target.rmtree()
    folder.rename(target)
    _log.warning("%s is cut short (%s): passed over, and now %s", folder, reason, target.name)
  for name in _listdir(checkpoint_dir):
    if name.endswith(_UNFINISHED):
      (epath.Path(checkpoint_dir) / name).rmtree()


def _newest_whole(checkpoint_dir: str) -> tuple[int | None, list[tuple[int, str]]]:
  """Returns the newest step with a complete checkpoint, and newer ones with their faults."""
  torn: list[tuple[int, str]] = []
  for step in sorted(_steps(checkpoint_dir), reverse=True):
    if (
      reason := find_corruption(bridge.absolute(os.path.join(checkpoint_dir, str(step))))
    ) is None:
      return step, torn
    torn.append((step, reason))
  return None, torn


def _steps(checkpoint_dir: str) -> list[int]:
  return sorted(int(name) for name in _listdir(checkpoint_dir) if name.isdigit())


def has_checkpoints(checkpoint_dir: str) -> bool:
  """Returns whether there is any checkpoint, complete or not."""
  return bool(_steps(checkpoint_dir))


def find_checkpoint(checkpoint_dir: str, which: str) -> str:
  """The path of a run's weights: `best`, `latest` or a number of steps.

  The best has the lowest word error rate of all checkpoints that were evaluated; where none was, it
  is the latest. The latest is the newest. An incomplete one is skipped with a
  warning, unless its number was given.

  Raises:
    ValueError: when there is no such checkpoint, or it is incomplete; lists the existing ones.
  """
  if which == "best":
    wanted = _best_whole(checkpoint_dir)
  elif which == "latest":
    wanted = _latest_whole(checkpoint_dir)
  else:
    wanted = next((step for step in _steps(checkpoint_dir) if str(step) == which), None)
  if wanted is None:
    there = ", ".join(map(str, _steps(checkpoint_dir))) or "none"
    raise ValueError(
      f"no checkpoint {which} in {checkpoint_dir} (there: {there}); train first, give run_name or"
      " base_output_directory of a run that is there, or decode_checkpoint=base for the weights of"
      " load_parameters_path"
    )
  return _require_whole(os.path.join(checkpoint_dir, str(wanted)))


def _latest_whole(checkpoint_dir: str) -> int | None:
  wanted, torn = _newest_whole(checkpoint_dir)
  for step, reason in torn:
    _log.warning(_CUT, os.path.join(checkpoint_dir, str(step)), reason)
  return wanted


def _best_whole(checkpoint_dir: str) -> int | None:
  for step in ranked(os.path.dirname(checkpoint_dir.rstrip("/")), _steps(checkpoint_dir)):
    if (
      reason := find_corruption(bridge.absolute(os.path.join(checkpoint_dir, str(step))))
    ) is None:
      return step
    _log.warning(_CUT, os.path.join(checkpoint_dir, str(step)), reason)
  return _latest_whole(checkpoint_dir)


def _require_whole(checkpoint: str) -> str:
  """The weights of a checkpoint."""
  if reason := find_corruption(bridge.absolute(checkpoint)):
    raise ValueError(f"{checkpoint} is cut short ({reason}); copy it again, or take another")
  return os.path.join(checkpoint, STATE)


def find_weights(path: str) -> str:
  """The weights that a path means.

  Args:
    path: a converted checkpoint, a run (its best checkpoint, as `find_checkpoint` says), a folder
      of checkpoints, one of them, or its `items`; local or a URL.

  Raises:
    ValueError: there is nothing of the kind.
  """
  names = _listdir(path)
  if CHECKPOINTS in names:
    return find_checkpoint(os.path.join(path, CHECKPOINTS), "best")
  if any(name.isdigit() for name in names):
    return find_checkpoint(path, "best")
  if STATE in names:
    return _require_whole(path)
  if TREE_METADATA not in names:
    raise ValueError(f"{path}: no checkpoint there; expected what training or conversion wrote")
  return path


def find_base_weights(path: str, run_dir: str) -> str:
  """The weights that `load_parameters_path` means in a run.

  Args:
    path: as `find_weights` has it.
    run_dir: the run's folder. Where `path` is gone, the path remembered by the run is used.

  Raises:
    ValueError: there is nothing of the kind.
  """
  try:
    return find_weights(path)
  except ValueError as error:
    moved = remembered_base(run_dir)
    if moved and epath.Path(moved).exists():
      return moved
    raise ValueError(
      f"load_parameters_path={path}: {error}; if it was moved, give the folder where it is now"
    ) from error


def with_base_weights(config: bridge.Config) -> bridge.Config:
  """Replaces `load_parameters_path` by the absolute path of the weights that it means.

  Raises:
    ValueError: there is nothing of the kind.
  """
  if not config.load_parameters_path:
    return config
  weights = find_base_weights(config.load_parameters_path, run_dir_of(config))
  return bridge.replace(config, load_parameters_path=bridge.absolute(weights))


def _listdir(path: str) -> list[str]:
  folder = epath.Path(path)
  return [child.name for child in folder.iterdir()] if folder.exists() else []


@functools.cache
def _drop_closed_loop_reports() -> None:
  """Silences the follow-up reports of a failed save, for the rest of the process.

  At the first write that fails Orbax closes its event loop. Every other write then reports to the
  closed loop, which Python prints as an error that nobody can catch: hundreds of lines. The failure
  itself is raised elsewhere.
  """
  before = sys.unraisablehook

  def report(unraisable: "sys.UnraisableHookArgs") -> None:
    error = unraisable.exc_value
    if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
      before(unraisable)

  sys.unraisablehook = report
