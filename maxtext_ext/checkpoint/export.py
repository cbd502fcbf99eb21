"""Conversion of MaxText's checkpoints to Hugging Face's layout, tensor by tensor.

A model of one checkpoint becomes one again. Of several parts, such as an encoder, a projector and a
language model, each gets a folder under its name, and so do the adapters of a LoRA run:

  encoder/      config.json and safetensors, as transformers loads them
  lm/           with the tokenizer
  projector/
  adapter/      for PEFT, onto lm/

`convert to-maxtext` reads such a folder as one model.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from maxtext_ext import bridge
from maxtext_ext.checkpoint import staging
from maxtext_ext.checkpoint.adapter import AdapterRecord, base_of, read_record
from maxtext_ext.checkpoint.families import FAMILIES
from maxtext_ext.checkpoint.hf_io import MAX_SHARD_BYTES, HfWriter
from maxtext_ext.checkpoint.integrity import Verification
from maxtext_ext.checkpoint.keymap import (
  SOLE,
  Family,
  Place,
  Rule,
  Sizes,
  check_names,
  our_shapes,
  places_by_name,
)
from maxtext_ext.checkpoint.model_file import BASE
from maxtext_ext.checkpoint.orbax_io import ParamsReader, StoredArray
from maxtext_ext.checkpoint.peft import Adapters, write_peft
from maxtext_ext.checkpoint.peft_config import ADAPTER_FOLDER
from maxtext_ext.checkpoint.staging import CONFIG, HF_FOLDER, RECORD
from maxtext_ext.checkpoint.tensor_plan import (
  DTYPES,
  Record,
  Report,
  in_form,
  label,
  pieces,
  rules_of,
)
from maxtext_ext.checkpoint.training import find_weights
from maxtext_ext.config import load
from maxtext_ext.files import foreign_json
from maxtext_ext.files.foreign_json import shown
from maxtext_ext.models.lora import LORA_A, LORA_B

Progress = Callable[[int, int], None]  # arrays done, arrays in all


class _Weights:
  """Parameters of a checkpoint; of a LoRA run the newer ones of it and of its base.

  Attributes:
    base: the items that hold all parameters but those that trained.
    shapes: by path, without the adapters.
    adapters: shapes of the adapters by path.
  """

  def __init__(self, items: str, record: AdapterRecord | None, explicit: str) -> None:
    self.base = items if record is None else base_of(items, record, explicit)
    self._readers = [ParamsReader(place) for place in dict.fromkeys((items, self.base))]
    shapes: dict[str, tuple[int, ...]] = {}
    for reader in reversed(self._readers):
      shapes |= reader.shapes
    ends = (LORA_A, LORA_B)
    self.shapes = {path: shape for path, shape in shapes.items() if not path.endswith(ends)}
    self.adapters = {path: shape for path, shape in shapes.items() if path.endswith(ends)}

  def open(self, path: str) -> StoredArray:
    """Returns the newest array of this path."""
    return next(reader for reader in self._readers if path in reader.shapes).open(path)

  def read(self, path: str) -> np.ndarray:
    """Returns a whole array."""
    array = self.open(path)
    return array.read((slice(None),) * len(array.shape))


def to_hf(
  checkpoint: str,
  out: str,
  *,
  naming: str | None = None,
  base: str | None = None,
  dtype: str = "recorded",
  max_shard_bytes: int = MAX_SHARD_BYTES,
  progress: Progress | None = None,
) -> Report:
  """Writes a checkpoint in Hugging Face's layout, with its configuration, tokenizer and templates.

  Args:
    checkpoint: a converted checkpoint, a run trained from one, or a checkpoint of that run; a LoRA
      run where the model is of several parts.
    out: the new folder, local or a URL.
    naming: of the tensors, one of the family's; default: the one that the model came with.
    base: the converted checkpoint that a run started from; default: `checkpoint` itself, or where
      the record of a LoRA run says.
    dtype: of the tensors: float32, bfloat16, or "recorded", as in the source checkpoint.
    max_shard_bytes: of one file.

  Raises:
    KeyTableError: the checkpoint's parameters are not those of the model. Nothing is written.
    ValueError: there is no such checkpoint, it holds adapters that have no place there, or its
      conversion is not recorded.
  """
  checkpoint = bridge.absolute(checkpoint)
  items = find_weights(checkpoint)
  adapters = read_record(items)
  if adapters is not None and not adapters.base_path:
    raise ValueError(_no_place_for_adapters(checkpoint))
  explicit = find_weights(bridge.absolute(base)) if base and adapters is not None else ""
  weights = _Weights(items, adapters, explicit)
  base = staging.find_base(
    bridge.absolute(base or checkpoint) if adapters is None else weights.base
  )
  hf_folder = os.path.join(base, HF_FOLDER)
  record_file = os.path.join(hf_folder, RECORD)
  record = foreign_json.check(Record, staging.read_json(hf_folder, RECORD), record_file)
  if record.family not in FAMILIES:
    raise ValueError(f"{record_file}: family {shown(record.family)}, known: {', '.join(FAMILIES)}")
  family, source_naming = FAMILIES[record.family], record.naming
  if adapters is not None and not family.parts:
    raise ValueError(_no_place_for_adapters(checkpoint))
  naming = naming or source_naming
  for name in (naming, source_naming):
    if name not in family.namings:
      raise ValueError(f"names {shown(name)}: {family.name} has {', '.join(family.namings)}")
  folders = {name: os.path.join(hf_folder, name) if name else hf_folder for name in family.sources}
  configs = {name: staging.read_json(folder, CONFIG) for name, folder in folders.items()}
  files = {name: os.path.join(folder, CONFIG) for name, folder in folders.items()}
  several = bool(family.parts)
  model = (
    family.model_keys(configs, files) if several else family.model_keys(configs[SOLE], files[SOLE])
  )
  sizes = family.sizes(model)
  tied = not _head_paths(family, naming, model) & weights.shapes.keys()
  scanned = not any(path.startswith("decoder/layers_") for path in weights.shapes)

  def all_rules(naming: str) -> list[Rule]:
    rules = family.rules(naming, tied, model)
    if tied and record.tied_head_stored and family.tied_head is not None:
      rules = [*rules, family.tied_head(naming)]
    return in_form(rules, scanned)

  rules = all_rules(naming)
  check_names(our_shapes(rules, sizes), weights.shapes, checkpoint)
  written = (
    family.hf_config(configs, naming, tied)
    if several
    else {SOLE: family.hf_config(configs[SOLE], naming, tied)}
  )
  processor = None
  if naming != source_naming and family.processor_files is not None:
    convert_files = family.processor_files

    def processor(files: Mapping[str, Any]) -> dict[str, Any]:
      return convert_files(files, naming)

  count = _Progress(len(our_shapes(rules, sizes)), progress)
  tensors, nbytes = 0, 0
  with staging.new_folder(out, local=True) as target, Verification(*{items, weights.base}):
    for source, part in family.sources.items():
      folder = os.path.join(target, source) if source else target
      os.makedirs(folder, exist_ok=True)
      own = rules_of(rules, source)
      if dtype == "recorded":
        dtypes = _recorded_dtypes(record, own, rules_of(all_rules(source_naming), source), sizes)
      else:
        dtypes = dict.fromkeys(places_by_name(own, sizes), DTYPES[dtype])
      shapes = {
        name: (dtypes[name], places[0].rule.hf_shape(sizes))
        for name, places in places_by_name(own, sizes).items()
      }
      with HfWriter(folder, shapes, max_shard_bytes=max_shard_bytes) as writer:
        _write_tensors(own, sizes, weights, writer, count)
      tensors += len(shapes)
      nbytes += sum(info.nbytes for info in writer.tensors.values())
      staging.copy_back(
        base, folder, written[source], processor, part=source, tokenizer=part.tokenizer
      )
    if adapters is not None:
      keys = {**model, "logits_via_embedding": tied, "scan_layers": scanned}
      _write_adapters(target, adapters, weights, {**keys, "checkpoint_family": family.name})
  return Report(
    family=family.name,
    naming=naming,
    tensors=tensors,
    nbytes=nbytes,
    skipped=(),
    head="untied" if not tied else "tied, stored" if record.tied_head_stored else "tied",
  )


def _no_place_for_adapters(checkpoint: str) -> str:
  return (
    f"{checkpoint} holds the adapters of a LoRA run, without the weights that they change: give"
    f" to-hf what `maxtext-ext convert merge-adapter {checkpoint} MERGED` makes, or hand the"
    f" adapters to PEFT with `maxtext-ext convert export-adapter {checkpoint} OUT`"
  )


def _write_adapters(
  target: str, record: AdapterRecord, weights: _Weights, model: Mapping[str, Any]
) -> None:
  folder = os.path.join(target, ADAPTER_FOLDER)
  os.makedirs(folder)
  arrays = {path: weights.read(path) for path in weights.adapters}
  adapters = Adapters(lora=record.lora, arrays=arrays, peft=record.peft)
  write_peft(folder, adapters, load(BASE, dict(model)))


def _head_paths(family: Family, naming: str, model: Mapping[str, Any]) -> set[str]:
  """Returns our paths of a separate output head."""
  with_head, without = (family.rules(naming, tied, model) for tied in (False, True))
  return {rule.ours for rule in with_head} - {rule.ours for rule in without}


def _recorded_dtypes(
  record: Record, rules: list[Rule], source_rules: list[Rule], sizes: Sizes
) -> dict[str, np.dtype]:
  """Returns the source's type of every tensor, also under another naming scheme.

  Tensors are matched by the part of ours that they hold.
  """
  others = {name: np.dtype(dtype) for name, dtype in record.other_dtypes.items()}
  usual = np.dtype(record.dtype)
  came_with: dict[tuple[str, str], np.dtype] = {}
  for name, places in places_by_name(source_rules, sizes).items():
    for place in places:
      dtype = others.get(label(place.rule.source, name), usual)
      came_with[place.path, str(place.slot())] = dtype

  def dtype_of(name: str, place: Place) -> np.dtype:
    came = came_with.get((place.path, str(place.slot())), usual)
    return others.get(label(place.rule.source, name), came)

  return {name: dtype_of(name, places[0]) for name, places in places_by_name(rules, sizes).items()}


class _Progress:
  """Count of the arrays that are written, reported to a callback."""

  def __init__(self, total: int, report: Progress | None) -> None:
    self._done, self._total, self._report = 0, total, report

  def step(self) -> None:
    """Counts one."""
    self._done += 1
    if self._report is not None:
      self._report(self._done, self._total)


def _write_tensors(
  rules: Iterable[Rule], sizes: Sizes, weights: _Weights, writer: HfWriter, progress: _Progress
) -> None:
  """Writes every tensor, one array of ours after the other."""
  by_path: dict[str, list[Place]] = {}
  for rule in rules:
    for place in rule.places(sizes):
      by_path.setdefault(place.path, []).append(place)
  for path, places in by_path.items():
    array = weights.open(path)
    for place in places:
      for rows, units in pieces(place, sizes):
        with writer.rows(place.hf, rows, keep=bool(place.rule.at)) as values:
          stored = array.read(place.slot(units))
          factor = place.rule.factor(sizes)
          place.rule.view(values, sizes)[...] = stored if factor == 1 else stored / factor
    progress.step()
