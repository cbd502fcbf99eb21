"""Conversion of Hugging Face checkpoints to MaxText's layout and back, tensor by tensor.

Tensors are read in pieces, so memory does not grow with the model. A converted checkpoint is:

  0/items/      the parameters, as training writes them
  model.yml     the model's shape
  tokenizer.json, ...
  hf/           config.json and the other files for the way back, and conversion.json, which says
                what the tensors' types were and whether a tied head was stored; a folder for each
                of several sources
"""

import contextlib
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from maxtext_ext import bridge
from maxtext_ext.checkpoint import staging
from maxtext_ext.checkpoint.adapter import read_record
from maxtext_ext.checkpoint.drawing import draw_weights, seed_of_drawing
from maxtext_ext.checkpoint.families import FAMILIES
from maxtext_ext.checkpoint.hf_io import (
  MAX_SHARD_BYTES,
  HfReader,
  HfWriter,
  NonfiniteError,
  count_nonfinite,
)
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
from maxtext_ext.checkpoint.orbax_io import ArraySpec, ParamsReader, ParamsWriter
from maxtext_ext.checkpoint.sources import open_sources
from maxtext_ext.checkpoint.staging import CONFIG, HF_FOLDER, RECORD
from maxtext_ext.checkpoint.tensor_plan import (
  DTYPES,
  Record,
  Report,
  array_specs,
  label,
  pieces,
  plan_from_hf,
  rules_of,
)
from maxtext_ext.checkpoint.training import find_weights
from maxtext_ext.files import foreign_json
from maxtext_ext.files.foreign_json import shown

Progress = Callable[[int, int], None]  # parts done, parts in all


def to_maxtext(
  source: str | Mapping[str, str],
  out: str,
  *,
  dtype: str = "stored",
  scanned: bool = True,
  allow_nonfinite: bool = False,
  progress: Progress | None = None,
) -> Report:
  """Converts a Hugging Face checkpoint, or several that form one model.

  Parts that no checkpoint has, such as a new projector, are initialised as in a new model.

  Args:
    source: its folder, or an id of the hub; by name where they are several (`Family.parts`).
    out: the new folder, local or a URL. A local one has a temporary name until it is complete.
    dtype: of the parameters: float32, bfloat16, or "stored", the one that they have (float32 for
      float16, which it holds exactly).
    scanned: stack the decoder's layers, as MaxText's key `scan_layers` has it.
    allow_nonfinite: convert NaN and infinite weights too; the report counts them.

  Raises:
    KeyTableError: a tensor is unknown, missing or misshapen; lists them all. Nothing is written.
    NonfiniteError: weights are NaN or infinite.
    ValueError: a model that cannot be converted, a damaged file, or `out` exists.
  """
  sources = open_sources({SOLE: source} if isinstance(source, str) else source)
  family, model = sources.family, sources.model_keys()
  for name, folder in sources.folders.items():
    of_tokenizer = family.sources[name].tokenizer
    staging.check_side_files(folder, model["vocab_size"] if of_tokenizer else None)
  nonfinite: Counter[str] = Counter()
  with contextlib.ExitStack() as stack:
    readers = {
      name: stack.enter_context(HfReader(folder)) for name, folder in sources.folders.items()
    }
    plan = plan_from_hf(family, readers, model, sources.given)
    model |= {"logits_via_embedding": plan.tied, "scan_layers": scanned}
    model |= {"checkpoint_family": family.name}
    rules = _in_form(plan.rules, scanned)
    arrays = array_specs(rules, plan.sizes, readers, dtype)
    drawn = {}
    if family.drawn:
      drawn = draw_weights(model, family.drawn, our_shapes(rules, plan.sizes))
      kind = DTYPES["float32" if dtype == "stored" else dtype]
      arrays |= {
        path: ArraySpec(shape=value.shape, chunks=value.shape, dtype=kind)
        for path, value in drawn.items()
      }
    with staging.new_folder(out) as target:
      writer = ParamsWriter(target, arrays)
      done, total = 0, sum(math.prod(array.shape) for array in arrays.values())
      for name, reader in readers.items():
        for hf, places in places_by_name(rules_of(rules, name), plan.sizes).items():
          for place in places:
            for rows, units in pieces(place, plan.sizes):
              value = place.rule.view(reader.read(hf, rows), plan.sizes)
              value = value.astype(arrays[place.path].dtype, copy=False)
              if (factor := place.rule.factor(plan.sizes)) != 1:
                value = (value * factor).astype(value.dtype)
              nonfinite[label(name, hf)] += count_nonfinite(value)
              writer.write(place.path, place.slot(units), value)
              done += value.size
              if progress is not None:
                progress(done, total)
      nonfinite = +nonfinite
      if nonfinite and not allow_nonfinite:
        raise NonfiniteError(str(sources), nonfinite)
      for path, value in drawn.items():
        writer.write(path, (slice(None),) * value.ndim, value.astype(arrays[path].dtype))
      writer.finish()
      staging.copy_side_files(sources.folders, family, target, plan.record(readers))
      staging.write_model(target, model, str(sources))
  origins = _origins(rules, drawn, sources.given, model) if family.parts else {}
  return plan.report(readers, nonfinite, origins)


def _origins(
  rules: Iterable[Rule],
  drawn: Iterable[str],
  given: Mapping[str, str],
  model: Mapping[str, Any],
) -> dict[str, str]:
  """Says where each part of the model comes from, by root of its parameters."""
  origins = {rule.ours.split("/")[0]: f"{rule.source}={given[rule.source]}" for rule in rules}
  for path in drawn:
    origins[path.split("/")[0]] = (
      f"initialised randomly, init_weights_seed={seed_of_drawing(model)}"
    )
  return origins


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
    checkpoint: a converted checkpoint, a run trained from one, or a checkpoint of that run.
    out: the new folder, local or a URL.
    naming: of the tensors, one of the family's; default: the one that the model came with.
    base: the converted checkpoint that a run started from; default: `checkpoint` itself.
    dtype: of the tensors: float32, bfloat16, or "recorded", as in the source checkpoint.
    max_shard_bytes: of one file.

  Raises:
    KeyTableError: the checkpoint's parameters are not those of the model. Nothing is written.
    ValueError: there is no such checkpoint, it holds adapters, or its conversion is not recorded.
  """
  checkpoint = bridge.absolute(checkpoint)
  items = find_weights(checkpoint)
  if read_record(items) is not None:
    raise ValueError(
      f"{checkpoint} holds the adapters of a LoRA run, without the weights that they change: give"
      f" to-hf what `maxtext-ext convert merge-adapter {checkpoint} MERGED` makes, or hand the"
      f" adapters to PEFT with `maxtext-ext convert export-adapter {checkpoint} OUT`"
    )
  reader = ParamsReader(items)
  base = staging.find_base(bridge.absolute(base or checkpoint))
  hf_folder = os.path.join(base, HF_FOLDER)
  record_file, config_file = (os.path.join(hf_folder, name) for name in (RECORD, CONFIG))
  record = foreign_json.check(Record, staging.read_json(hf_folder, RECORD), record_file)
  if record.family not in FAMILIES:
    raise ValueError(f"{record_file}: family {shown(record.family)}, known: {', '.join(FAMILIES)}")
  family, source_naming = FAMILIES[record.family], record.naming
  if family.parts:
    raise ValueError(
      f"{checkpoint}: {family.name} is made of several checkpoints ({', '.join(family.parts)}), and"
      " Hugging Face has no model that holds them together; decode it as it is, or hand the"
      " adapters of a LoRA run to PEFT with `maxtext-ext convert export-adapter`"
    )
  hf_config = staging.read_json(hf_folder, CONFIG)
  naming = naming or source_naming
  for name in (naming, source_naming):
    if name not in family.namings:
      raise ValueError(f"names {shown(name)}: {family.name} has {', '.join(family.namings)}")
  model = family.model_keys(hf_config, config_file)
  sizes = family.sizes(model)
  tied = not _head_paths(family, naming, model) & reader.shapes.keys()
  scanned = not any(path.startswith("decoder/layers_") for path in reader.shapes)

  def all_rules(naming: str) -> list[Rule]:
    rules = family.rules(naming, tied, model)
    if tied and record.tied_head_stored and family.tied_head is not None:
      rules = [*rules, family.tied_head(naming)]
    return _in_form(rules, scanned)

  rules = all_rules(naming)
  check_names(our_shapes(rules, sizes), reader.shapes, checkpoint)
  if dtype == "recorded":
    dtypes = _recorded_dtypes(record, rules, all_rules(source_naming), sizes)
  else:
    dtypes = dict.fromkeys(places_by_name(rules, sizes), DTYPES[dtype])
  tensors = {
    name: (dtypes[name], places[0].rule.hf_shape(sizes))
    for name, places in places_by_name(rules, sizes).items()
  }
  with staging.new_folder(out, local=True) as target:
    with (
      Verification(items),
      HfWriter(target, tensors, max_shard_bytes=max_shard_bytes) as writer,
    ):
      _write_tensors(rules, sizes, reader, writer, progress)
    processor = None
    if naming != source_naming and family.processor_files is not None:
      convert_files = family.processor_files

      def processor(files: Mapping[str, Any]) -> dict[str, Any]:
        return convert_files(files, naming)

    staging.copy_back(base, target, family.hf_config(hf_config, naming, tied), processor)
  return Report(
    family=family.name,
    naming=naming,
    tensors=len(tensors),
    nbytes=sum(info.nbytes for info in writer.tensors.values()),
    skipped=(),
    head="untied" if not tied else "tied, stored" if record.tied_head_stored else "tied",
  )


def _in_form(rules: Iterable[Rule], scanned: bool) -> list[Rule]:
  return [rule if scanned else rule.unscanned() for rule in rules]


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
      came_with[place.path, str(place.slot())] = others.get(name, usual)
  return {
    name: others.get(name, came_with.get((places[0].path, str(places[0].slot())), usual))
    for name, places in places_by_name(rules, sizes).items()
  }


def _write_tensors(
  rules: list[Rule],
  sizes: Sizes,
  reader: ParamsReader,
  writer: HfWriter,
  progress: Progress | None,
) -> None:
  """Writes every tensor, one array of ours after the other."""
  by_path: dict[str, list[Place]] = {}
  for rule in rules:
    for place in rule.places(sizes):
      by_path.setdefault(place.path, []).append(place)
  done, total = 0, sum(len(places) for places in by_path.values())
  for path, places in by_path.items():
    array = reader.open(path)
    for place in places:
      for rows, units in pieces(place, sizes):
        with writer.rows(place.hf, rows, keep=bool(place.rule.at)) as values:
          stored = array.read(place.slot(units))
          factor = place.rule.factor(sizes)
          place.rule.view(values, sizes)[...] = stored if factor == 1 else stored / factor
      done += 1
      if progress is not None:
        progress(done, total)
