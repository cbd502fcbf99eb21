"""Conversion of Hugging Face checkpoints to MaxText's layout, tensor by tensor.

Tensors are read in pieces, so memory does not grow with the model. A converted checkpoint is:

  0/items/      the parameters, as training writes them
  model.yml     the model's shape
  tokenizer.json, ...
  hf/           config.json and the other files for the way back, and conversion.json, which says
                what the tensors' types were and whether a tied head was stored; a folder for each
                of several parts
"""

import contextlib
import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from maxtext_ext.checkpoint import staging
from maxtext_ext.checkpoint.drawing import draw_weights, seed_of_drawing
from maxtext_ext.checkpoint.hf_io import HfReader, NonfiniteError, count_nonfinite
from maxtext_ext.checkpoint.keymap import SOLE, Rule, check_names, our_shapes, places_by_name
from maxtext_ext.checkpoint.orbax_io import ArraySpec, ParamsWriter
from maxtext_ext.checkpoint.sources import open_sources
from maxtext_ext.checkpoint.tensor_plan import (
  DTYPES,
  Report,
  array_specs,
  in_form,
  label,
  pieces,
  plan_from_hf,
  rules_of,
)

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
    source: its folder, or an id of the hub; by name where they are several (`Family.parts`), of
      which a new part is given by its kind, or left out.
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
    rules = in_form(plan.rules, scanned)
    new = [rule for rule in rules if rule.source in sources.new]
    rules = [rule for rule in rules if rule.source in readers]
    arrays = array_specs(rules, plan.sizes, readers, dtype)
    drawn, kind = {}, DTYPES["float32" if dtype == "stored" else dtype]
    if new:
      roots = tuple({rule.ours.split("/")[0] for rule in new})
      drawn = draw_weights(model, roots, our_shapes(rules, plan.sizes))
      check_names(our_shapes(new, plan.sizes), {k: v.shape for k, v in drawn.items()}, "new parts")
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
      staging.copy_side_files(sources.folders, family, target)
      staging.write_record(target, plan.record(readers, kind))
      for name in sources.new:
        staging.write_part_config(target, name, sources.configs[name])
      staging.write_model(target, model, str(sources))
  origins = _origins(rules, drawn, sources.given, model) if family.parts else {}
  report = plan.report(readers, nonfinite, origins)
  return dataclasses.replace(report, skipped=(*report.skipped, *sources.aside))


def _origins(
  rules: Iterable[Rule],
  drawn: Iterable[str],
  given: Mapping[str, str],
  model: Mapping[str, Any],
) -> dict[str, str]:
  """Says where each part of the model comes from, by root of its parameters."""
  origins = {rule.ours.split("/")[0]: f"{rule.source}={given[rule.source]}" for rule in rules}
  for path in drawn:
    root = path.split("/")[0]
    origins[root] = f"initialised randomly, init_weights_seed={seed_of_drawing(model)}"
  return origins
