"""Merging and exchange of LoRA adapters: full weights, PEFT export and PEFT import."""

import os
from typing import Any

import numpy as np
from etils import epath
from flax import nnx
from orbax.checkpoint import v1 as ocp

from maxtext_ext import bridge
from maxtext_ext.checkpoint import staging
from maxtext_ext.checkpoint.adapter import ADAPTER, AdapterRecord, base_of, read_record
from maxtext_ext.checkpoint.base import identify
from maxtext_ext.checkpoint.families import family_of_model
from maxtext_ext.checkpoint.integrity import Verification, write_checksums
from maxtext_ext.checkpoint.model_file import pretrained_config, write_model
from maxtext_ext.checkpoint.orbax_io import ArraySpec, ParamsReader, ParamsWriter
from maxtext_ext.checkpoint.peft import Adapters, read_peft, write_peft
from maxtext_ext.checkpoint.training import CHECKPOINTS, STATE, find_weights
from maxtext_ext.models.lora import (
  LORA_A,
  LORA_B,
  KernelAxes,
  find_kernels,
  is_target,
  kernel_name,
  merge_kernel,
)
from maxtext_ext.models.make import make_model
from maxtext_ext.models.parts import ADAPTERS


def merge_adapter(run: str, out: str, *, base: str = "") -> None:
  """Writes the base weights of a LoRA run with its best adapters merged, as a full checkpoint.

  Layer by layer, so memory does not grow with the model. `out` is a converted checkpoint where the
  base is one.

  Args:
    run: the folder of the run; local or a URL.
    out: the new folder.
    base: where the base weights lie now, if they were moved.

  Raises:
    ValueError: no LoRA run, its base weights are gone or changed, or something lies at `out`.
  """
  with pretrained_config(run, {}) as config:
    items, record = _find_adapters(config)
    if not record.base_path:
      raise ValueError(f"{run}: its adapters belong to random weights that were never saved")
    base_items = base_of(items, record, find_weights(base) if base else "")
    kernels = _adapted_kernels(config, record)
    weights, adapters = ParamsReader(base_items), ParamsReader(items)
    # Weights of other parts that were trained beside the adapters are the newer ones.
    stored = {
      path: (adapters if path in adapters.shapes else weights).open(path) for path in weights.shapes
    }
    stacks = {path: axes.stack for path, axes in kernels.items()}
    specs = {
      path: ArraySpec(
        shape=array.shape, chunks=_layer(array.shape, stacks.get(path)), dtype=array.dtype
      )
      for path, array in stored.items()
    }
    with staging.new_folder(out) as target, Verification(base_items, items):
      writer = ParamsWriter(target, specs)
      for path, array in stored.items():
        pair = [_read(adapters, path + end) for end in (LORA_A, LORA_B) if path in kernels]
        for index in _layers(array.shape, stacks.get(path)):
          value = array.read(index)
          if pair:
            a, b = (x[_same_layer(index, stacks[path], x.ndim)] for x in pair)
            value = np.asarray(merge_kernel(value, a, b, kernels[path], record.lora.scale))
          writer.write(path, index, value)
      writer.finish()
      staging.copy_hf_files(os.path.dirname(os.path.dirname(base_items)), target)
      write_model(config, target)


def export_adapter(run: str, out: str, *, base_name: str | None = None) -> None:
  """Writes the best adapters of a LoRA run as a PEFT folder.

  Args:
    base_name: the model that PEFT is to load them onto, a hub id or a path.

  Raises:
    ValueError: no LoRA run, one that trained more than its adapters, or something lies at `out`.
  """
  with pretrained_config(run, {}) as config, staging.new_folder(out, local=True) as target:
    items, record = _find_adapters(config)
    if beside := [part for part in record.parts if part != ADAPTERS]:
      other = (
        "`maxtext-ext convert to-hf` writes all of it"
        if family_of_model(config).parts
        else "`maxtext-ext convert merge-adapter` merges all of it into full weights"
      )
      raise ValueError(
        f"{run} trained {', '.join(beside)} beside its adapters, which PEFT's files cannot hold;"
        f" {other}"
      )
    reader = ParamsReader(items)
    with Verification(items):
      arrays = {path: _read(reader, path) for path in reader.shapes}
    adapters = Adapters(lora=record.lora, arrays=arrays, peft=record.peft)
    write_peft(target, adapters, config, base_name=base_name)


def import_adapter(
  adapter: str, base: str, run: str, *, allow_nonfinite: bool = False
) -> AdapterRecord:
  """Makes a run of a PEFT adapter: to be decoded, merged, or trained further from its step 0.

  Args:
    adapter: the PEFT folder.
    base: the converted checkpoint or run whose weights it belongs to.
    run: the new folder, {base_output_directory}/{run_name} for training.
    allow_nonfinite: take NaN and infinite values too.

  Raises:
    ValueError: the adapter does not fit the model, or something lies at `run`.
  """
  with pretrained_config(base, {}) as config:
    items = config.load_parameters_path
    if read_record(items) is not None:
      raise ValueError(f"{base} is a LoRA run itself; merge it first")
    adapters = read_peft(adapter, config, allow_nonfinite=allow_nonfinite)
    record = AdapterRecord(
      lora=adapters.lora, base_path=items, base_identity=identify(items), peft=adapters.peft
    )
    with staging.new_folder(run) as target:
      tree = _nested(adapters.arrays)
      parts = {STATE: {"params": {"params": tree}}, ADAPTER: {"record": record.to_json()}}
      step = epath.Path(target) / CHECKPOINTS / "0"
      ocp.save_checkpointables(step, parts)
      write_checksums(str(step))
      write_model(config, target)
  return record


def _find_adapters(config: bridge.Config) -> tuple[str, AdapterRecord]:
  items = config.load_parameters_path
  if (record := read_record(items)) is None:
    raise ValueError(f"{items} holds full weights, expected the adapters of a LoRA run")
  return items, record


def _adapted_kernels(config: bridge.Config, record: AdapterRecord) -> dict[str, KernelAxes]:
  mesh = bridge.make_mesh(config)
  with bridge.mesh_scope(config, mesh):
    model = nnx.eval_shape(lambda: make_model(config, mesh))
  return {
    "/".join(map(str, path)): axes
    for path, axes in find_kernels(model).items()
    if is_target(kernel_name(path), record.lora.targets)
  }


def _read(reader: ParamsReader, path: str) -> np.ndarray:
  array = reader.open(path)
  return array.read((slice(None),) * len(array.shape))


def _layer(shape: tuple[int, ...], stack: int | None) -> tuple[int, ...]:
  return tuple(1 if axis == stack else size for axis, size in enumerate(shape))


def _layers(shape: tuple[int, ...], stack: int | None) -> list[tuple[slice, ...]]:
  """Indices of the layers of a stacked array, their axis kept; the whole of another."""
  if stack is None:
    return [(slice(None),) * len(shape)]
  return [
    tuple(slice(i, i + 1) if axis == stack else slice(None) for axis in range(len(shape)))
    for i in range(shape[stack])
  ]


def _same_layer(index: tuple[slice, ...], stack: int | None, ndim: int) -> tuple[slice, ...]:
  return tuple(index[stack] if axis == stack else slice(None) for axis in range(ndim))


def _nested(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
  return nnx.traversals.unflatten_mapping({tuple(k.split("/")): v for k, v in arrays.items()})
