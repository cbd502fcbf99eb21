"""Client of the compiler, which runs in a process of its own because of libtpu."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from maxtext_ext.planning.cost import Cost
from maxtext_ext.planning.decode_shape import DecodeCosts, DecodeMemory, DecodeShape
from maxtext_ext.planning.memory import DoesNotFit, Memory
from maxtext_ext.planning.topology import Slice

# libtpu's names of the generations, in TPU_ACCELERATOR_TYPE.
_ACCELERATORS = {"v5e": "v5litepod"}


@dataclass(frozen=True, kw_only=True)
class Shape:
  """Rows, layers and sharding of a configuration on a slice.

  Attributes:
    rows: of a step, on all chips, in all its micro-batches.
    vocab_tiles: `cost.small_overrides`.
    encoder_overrides: `key=value` overrides for an encoder of one layer, and of two; empty where it
      has no layers.
    window_seconds: of audio in a window.
    model_flops: of a step, on all chips.
    sharding: how many chips divide what, such as {"fsdp": 16}.
  """

  model: str
  rows: int
  micro_rows_per_chip: float
  accumulation: int
  tokens_per_row: int
  windows_per_row: int
  remat: str
  vocab_tiles: int
  decoder_layers: int
  encoder_layers: int
  encoder_overrides: list[list[str]]
  window_seconds: float
  model_flops: float
  sharding: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Compiled:
  """Result of a compilation; without cost where none was asked for, or it does not fit."""

  memory: Memory
  cost: Cost | None
  seconds: float


def environment(target: Slice) -> dict[str, str]:
  """Returns variables that make libtpu compile for the slice on a machine without one.

  They would change what the user's own process runs on, so they are set in the worker alone.
  """
  if not target.compiled:
    return {**os.environ, "JAX_PLATFORMS": "cpu"}
  generation, size = target.name.split("-")
  return {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": f"{_ACCELERATORS.get(generation, generation)}-{size}",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # several plans at a time; no device is locked
  }


class Compiler:
  """Compiles steps for one slice, one after the other; a context manager.

  Raises:
    ValueError: libtpu is not installed.
  """

  def __init__(self, target: Slice) -> None:
    if target.compiled and importlib.util.find_spec("libtpu") is None:
      raise ValueError(
        f"a plan for {target.name} needs libtpu's compiler, which is not installed here:"
        " setup/install.sh plan, or pip install libtpu"
      )
    self.target = target
    self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
    self._process = subprocess.Popen(
      [sys.executable, "-m", "maxtext_ext.planning.worker", target.name],
      env=environment(target),
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._log,
      text=True,
    )

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exc: object) -> None:
    self._process.kill()
    self._process.communicate()
    self._log.close()

  def describe(self, path: str, overrides: Sequence[str]) -> Shape:
    """Reads the rows, windows and layers of a configuration on the slice.

    Raises:
      ValueError: for a configuration that cannot be used there.
    """
    return Shape(**self._ask(what="describe", path=path, overrides=list(overrides)))

  def compile(
    self, path: str, overrides: Sequence[str], *, with_cost: bool = False, effort: str = "O0"
  ) -> Compiled:
    """Compiles the training step.

    Args:
      effort: the compiler's, O0 to O3.

    Raises:
      ValueError: for a configuration that cannot be used there.
    """
    answer = self._ask(
      what="compile", path=path, overrides=list(overrides), with_cost=with_cost, effort=effort
    )
    cost = answer["cost"]
    return Compiled(
      memory=Memory(**answer["memory"]),
      cost=None if cost is None else Cost(**cost),
      seconds=answer["seconds"],
    )

  def describe_decode(self, path: str, overrides: Sequence[str]) -> DecodeShape:
    """Reads lanes, slots and sizes of the decoding of a configuration on the slice.

    Raises:
      ValueError: for a configuration that cannot be used there.
    """
    return DecodeShape(**self._ask(what="describe_decode", path=path, overrides=list(overrides)))

  def decode_memory(
    self, path: str, overrides: Sequence[str], *, slots: int, places: int, effort: str = "O0"
  ) -> DecodeMemory:
    """Compiles the programs of decoding for lanes of so many slots of so many places."""
    answer = self._ask(
      what="decode_memory",
      path=path,
      overrides=list(overrides),
      slots=slots,
      places=places,
      effort=effort,
    )
    return DecodeMemory.from_answer(answer)

  def decode_costs(self, path: str, overrides: Sequence[str], *, slots: int) -> DecodeCosts:
    """Counts the parts of decoding; of a model whose layers are not scanned.

    Raises:
      DoesNotFit: even with so few layers.
    """
    answer = self._ask(what="decode_costs", path=path, overrides=list(overrides), slots=slots)
    return DecodeCosts.from_answer(answer)

  def _ask(self, **question: Any) -> dict[str, Any]:
    assert self._process.stdin is not None
    assert self._process.stdout is not None
    try:
      self._process.stdin.write(json.dumps(question) + "\n")
      self._process.stdin.flush()
      line = self._process.stdout.readline()
    except BrokenPipeError:
      line = ""
    if not line:
      self._process.wait()
      self._log.seek(0)
      said = [line.strip() for line in self._log if line.strip()][-5:]
      raise ValueError(
        f"the compiler for {self.target.name} ended with status {self._process.returncode}:"
        f" {' | '.join(said)}"
      )
    answer = json.loads(line)
    if "does_not_fit" in answer:
      raise DoesNotFit(answer["does_not_fit"])
    if "error" in answer:
      raise ValueError(answer["error"])
    return answer["answer"]
