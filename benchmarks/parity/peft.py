"""A PEFT adapter, imported: its logits against transformers with PEFT, its files there and back."""

import dataclasses
import functools
import pathlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.parity import models
from benchmarks.parity.references import lora as golden
from benchmarks.parity.references import qwen3_asr_files
from benchmarks.parity.references.qwen3_asr import REFERENCE
from maxtext_ext import bridge
from maxtext_ext.checkpoint import adapter
from maxtext_ext.checkpoint.convert import to_maxtext
from maxtext_ext.checkpoint.merge import export_adapter, import_adapter
from maxtext_ext.checkpoint.model_file import pretrained_config
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.models.make import make_model

FILES = ("adapter_config.json", "adapter_model.safetensors")
EXACT = {"attention": "dot_product", "matmul_precision": "highest", "dtype": "float32"}
PACKED = {"max_tokens": 256, "windows": 4, "rows": 1}


@functools.cache
def logits(folder: str) -> dict[str, np.ndarray]:
  """Logits of the golden clips by id, of whatever checkpoint the folder is."""
  with pretrained_config(folder, EXACT) as config:
    pass
  mesh = bridge.make_mesh(config)
  path = config.load_parameters_path
  config, params = adapter.load_weights(config, mesh, path, lambda c: make_model(c, mesh))
  arrays, places = models.batch_of(clips(), **PACKED)
  with bridge.mesh_scope(config, mesh):
    graphdef, _, rest = nnx.split(make_model(config, mesh), nnx.Param, ...)
    run = jax.jit(lambda params, batch: nnx.merge(graphdef, params, rest, copy=True)(batch))
    found = np.asarray(run(params, jax.tree.map(jnp.asarray, arrays)))
  return {clip: found[row][at] for clip, row, at in places}


def clips() -> list[Utterance]:
  """The clips of which logits with the adapter are stored."""
  return models.utterances(REFERENCE)[: golden.CLIPS]


def error(found: np.ndarray, clip: Utterance) -> float:
  """Largest difference to PEFT's logits of a clip, as a part of its largest logit."""
  reference = dataclasses.replace(REFERENCE, name="lora")
  return models.error(reference, found, clip)


@contextmanager
def imported_adapter(scanned: bool) -> Iterator[pathlib.Path]:
  """A run made from PEFT's adapter, on its converted base."""
  with tempfile.TemporaryDirectory() as folder:
    hf, base, run = (pathlib.Path(folder, name) for name in ("hf", "base", "run"))
    qwen3_asr_files.write(hf, "native")
    to_maxtext(str(hf), str(base), scanned=scanned)
    import_adapter(str(golden.ADAPTER), str(base), str(run))
    yield run


def max_error(scanned: bool) -> float:
  """Largest error of the logits with PEFT's adapter over all clips."""
  with imported_adapter(scanned) as run:
    found = logits(str(run))
    return max(error(found[clip.sample_id], clip) for clip in clips())


def count_differences(scanned: bool) -> float:
  """Counts files of an adapter that differ after import and export."""
  with imported_adapter(scanned) as run:
    export_adapter(str(run), str(run / "peft"))
    return sum(
      (run / "peft" / name).read_bytes() != (golden.ADAPTER / name).read_bytes() for name in FILES
    )
