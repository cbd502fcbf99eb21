"""A reference's model as ours, run on the reference's clips in rows of any packing."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.parity.references import ours, reference
from benchmarks.parity.references.reference import Reference
from maxtext_ext import bridge
from maxtext_ext.config import load
from maxtext_ext.input.collate import pack_batch
from maxtext_ext.input.packing import pack
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
from maxtext_ext.models.make import make_model
from maxtext_ext.models.speech_lm import SpeechLM

TOLERANCE = 1e-4  # of the largest logit of the clip

# Ways to lay all clips of a reference into rows: each alone, in a ragged batch, packed.
LAYOUTS = {
  "alone": {"max_tokens": 1408, "windows": 13, "rows": 1, "batches": "clip by clip"},
  "ragged batch": {"max_tokens": 1408, "windows": 13, "rows": 1, "batches": "stacked"},
  "packed": {"max_tokens": 2944, "windows": 26, "rows": 1},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loaded:
  """A model with a reference's weights.

  Attributes:
    experts: filled by every run of a mixture of experts with the chosen of each layer [B, L, K].
  """

  ref: Reference
  config: bridge.Config
  mesh: Any
  graphdef: Any
  state: Any
  experts: list[np.ndarray]

  def merge(self) -> SpeechLM:
    """Builds the module with arrays of its own."""
    return nnx.merge(self.graphdef, self.state, copy=True)

  @functools.cached_property
  def run(self) -> Any:
    """batch -> logits, compiled once for every shape."""
    return jax.jit(lambda batch: self.merge()(batch))


def load_model(ref: Reference, *, model: str = "qwen3-asr-tiny", **keys: Any) -> Loaded:
  """Our model in float32 with every weight of the reference.

  Args:
    model: file of configs/models of which the shape is replaced by the reference's.
    keys: further configuration keys.
  """
  keys = {
    "model_name": model,
    **ours.config_keys(ref),
    "attention": "dot_product",
    "matmul_precision": "highest",
    **keys,
  }
  config = load("configs/experiments/demo.yml", [f"{k}={v}" for k, v in keys.items()])
  mesh = bridge.make_mesh(config)
  with bridge.mesh_scope(config, mesh):
    built = make_model(config, mesh)
  params = nnx.state(built, nnx.Param)
  block = config.decoder_block.value
  new = ours.params(ref, scanned=config.scan_layers, block=block)
  shapes = jax.tree.map(lambda x: x.shape, new)
  assert shapes == jax.tree.map(lambda x: x.shape, params.to_pure_dict()), "every weight is set"
  nnx.replace_by_pure_dict(params, jax.tree.map(jnp.asarray, new))
  nnx.update(built, params)
  experts: list[np.ndarray] = []
  record_experts(built, experts)
  graphdef, state = nnx.split(built)
  return Loaded(ref=ref, config=config, mesh=mesh, graphdef=graphdef, state=state, experts=experts)


def record_experts(model: nnx.Module, into: list[np.ndarray]) -> None:
  """Has every mixture of experts of `model` append its choice when it runs, layer after layer."""

  def recording(base: type) -> type:
    class Recording(base):
      def get_topk(self, *args: Any, **kwargs: Any) -> tuple[jax.Array, jax.Array]:
        weights, chosen = super().get_topk(*args, **kwargs)
        jax.debug.callback(lambda x: into.append(np.asarray(x)), chosen, ordered=True)
        return weights, chosen

    return Recording

  for _, module in nnx.iter_modules(model):
    if hasattr(module, "get_topk"):
      module.__class__ = recording(type(module))


@functools.cache
def utterances(ref: Reference) -> list[Utterance]:
  """The reference's clips with their prompts and targets; `sample_id` is the clip's number."""
  made = []
  for i, samples in enumerate(ref.clips()):
    tokens = GEOMETRY.num_tokens(len(samples))
    prompt, target = reference.prompt_ids(i, tokens)
    made.append(
      Utterance(
        sample_id=str(i),
        dataset_name="golden",
        language="English",
        text="",
        samples=samples,
        prompt=np.asarray(prompt, np.int32),
        target=np.asarray(target, np.int32),
        audio_start=prompt.index(reference.AUDIO_PAD),
        geometry=GEOMETRY,
      )
    )
  return made


def batch_of(
  clips: list[Utterance], *, max_tokens: int, windows: int, rows: int
) -> tuple[dict[str, np.ndarray], list[tuple[str, int, np.ndarray]]]:
  """Packs clips into rows: the batch, and for each clip its id, row and positions."""
  lengths = [(u.tokens, u.chunks) for u in clips]
  packed = list(pack(lengths, geometry=GEOMETRY, max_tokens=max_tokens, windows=windows))
  assert len(packed) <= rows
  arrays = pack_batch(
    packed,
    dict(enumerate(clips)),
    batch_rows=rows,
    max_tokens=max_tokens,
    windows=windows,
    pad_id=reference.PAD,
    audio_dtype="float32",
    geometry=GEOMETRY,
  )
  places = []
  for number, row in enumerate(packed):
    for segment, key in enumerate(row.keys, 1):
      positions = np.flatnonzero(arrays["inputs_segmentation"][number] == segment)
      places.append((clips[key].sample_id, number, positions))
  return arrays, places


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """Outputs of our model for a clip.

  Attributes:
    logits: [positions, V].
    experts: [layers, positions, chosen], ascending; without layers where there are no experts.
  """

  logits: np.ndarray
  experts: np.ndarray


def run_all(
  loaded: Loaded,
  clips: list[Utterance],
  *,
  max_tokens: int,
  windows: int,
  rows: int,
  batches: str = "packed",
) -> dict[str, Found]:
  """Runs clips and returns what each gave, by id.

  Args:
    batches: "packed" into rows of one batch, "clip by clip", or those "stacked" to one batch.
  """
  shape = {"max_tokens": max_tokens, "windows": windows, "rows": rows}
  if batches == "packed":
    return _run(loaded, *batch_of(clips, **shape))
  single = [batch_of([clip], **shape) for clip in clips]
  if batches == "clip by clip":
    return {key: value for batch in single for key, value in _run(loaded, *batch).items()}
  arrays = [arrays for arrays, _ in single]
  stacked = {key: np.concatenate([a[key] for a in arrays]) for key in arrays[0]}
  places = [(clip, rows * i + row, at) for i, (_, p) in enumerate(single) for clip, row, at in p]
  return _run(loaded, stacked, places)


def _run(
  loaded: Loaded,
  arrays: dict[str, np.ndarray],
  places: list[tuple[str, int, np.ndarray]],
) -> dict[str, Found]:
  loaded.experts.clear()
  with bridge.mesh_scope(loaded.config, loaded.mesh):
    logits = np.asarray(loaded.run(jax.tree.map(jnp.asarray, arrays)))
  jax.effects_barrier()
  experts = np.sort(np.stack(loaded.experts or [np.zeros((*logits.shape[:2], 0))]), axis=-1)
  return {
    clip: Found(logits=logits[row][at], experts=experts[:, row, at]) for clip, row, at in places
  }


def error(ref: Reference, logits: np.ndarray, clip: Utterance) -> float:
  """The largest difference to the reference, as a part of its largest logit."""
  number = int(clip.sample_id)
  want = ref.outputs()[f"logits_{number}"]
  positions = reference.stored_positions(number, clip.audio_tokens)
  inside = positions < len(logits)  # the last token predicts nothing and is in no row
  return float(np.abs(logits[positions[inside]] - want[inside]).max() / np.abs(want).max())
