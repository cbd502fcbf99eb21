"""Comparison of a checkpoint with logits that another program computed from the same weights."""

import functools
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int
from rich.console import Console
from rich.table import Table

from maxtext_ext import bridge
from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.checkpoint.adapter import load_weights
from maxtext_ext.checkpoint.model_file import pretrained_config
from maxtext_ext.input.collate import make_decode_batch
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.models.interface import Batch
from maxtext_ext.models.make import make_model

# Float32 throughout, whatever the checkpoint stores: what is held to account is the arithmetic.
EXACT = {
  "dtype": "float32",
  "weight_dtype": "float32",
  "matmul_precision": "highest",
  "attention": "dot_product",
}


@dataclass(frozen=True, kw_only=True)
class ReferenceClip:
  """Clip of a reference file: inputs and logits.

  Attributes:
    number: k in the names `samples_k`, `input_ids_k`, `logits_k`.
    samples: [T] float32 at 16 kHz.
    input_ids: [P] the whole sequence, one <|audio_pad|> for each audio token.
    logits: [N, V] of the last N positions.
  """

  number: int
  samples: np.ndarray
  input_ids: np.ndarray
  logits: np.ndarray

  def utterance(self, geometry: Geometry) -> Utterance:
    """The sequence as a prompt; its audio tokens are the longest run of one id.

    Args:
      geometry: of the model's encoder.

    Raises:
      ValueError: the run is not as long as the clip's audio gives tokens.
    """
    ids = self.input_ids.astype(np.int32)
    edges = np.flatnonzero(np.diff(ids, prepend=-1, append=-1))
    lengths = np.diff(edges)
    start, length = int(edges[lengths.argmax()]), int(lengths.max())
    wanted = geometry.num_tokens(len(self.samples))
    if length != wanted:
      raise ValueError(
        f"input_ids_{self.number}: its longest run of one id has {length} tokens, expected"
        f" {wanted} audio pads for samples_{self.number} of {len(self.samples)} samples; the"
        " reference must expand the pads, one for each audio token"
      )
    return Utterance(
      sample_id=str(self.number),
      dataset_name="",
      language=None,
      text="",
      samples=self.samples.astype(np.float32),
      prompt=ids,
      target=np.zeros(0, np.int32),
      audio_start=start,
      geometry=geometry,
    )


@dataclass(frozen=True, kw_only=True)
class ClipError:
  """Difference of our logits of a clip to the reference's.

  Attributes:
    error: the largest difference, as a part of the reference's largest logit.
    worst_position: where it is, an index into the clip's input_ids.
    top1: share of positions at which both have the same largest logit.
  """

  number: int
  seconds: float
  positions: int
  error: float
  worst_position: int
  top1: float

  def within(self, tolerance: float) -> bool:
    """Returns whether the error is small enough; never for logits that are not finite."""
    return bool(self.error <= tolerance)


def read_reference(path: str | os.PathLike[str]) -> list[ReferenceClip]:
  """The clips of an .npz file that `benchmarks/parity/hf_reference.py` wrote.

  Raises:
    ValueError: not such a file.
  """
  try:
    with np.load(path) as file:
      arrays = dict(file)
  # TypeError: a plain array of an .npy file. What NumPy says of a text file is how to load pickles.
  except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
    raise ValueError(
      f"{path}: not a complete .npz file; make it again with benchmarks/parity/hf_reference.py"
    ) from error
  numbers = sorted(
    int(name[8:]) for name in arrays if name[:8] == "samples_" and name[8:].isdigit()
  )
  if not numbers:
    raise ValueError(
      f"{path}: no samples_0, samples_1, ... in it; make it with benchmarks/parity/hf_reference.py"
    )
  return [_clip(path, arrays, number) for number in numbers]


def _clip(
  path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], number: int
) -> ReferenceClip:
  names = {key: f"{key}_{number}" for key in ("samples", "input_ids", "logits")}
  if missing := [name for name in names.values() if name not in arrays]:
    raise ValueError(f"{path}: {', '.join(missing)} missing beside samples_{number}")
  clip = ReferenceClip(number=number, **{key: arrays[name] for key, name in names.items()})
  shapes = (clip.samples.ndim, clip.input_ids.ndim, clip.logits.ndim)
  if shapes != (1, 1, 2) or not 0 < len(clip.logits) <= len(clip.input_ids):
    raise ValueError(
      f"{path}: clip {number} has samples {clip.samples.shape}, input_ids {clip.input_ids.shape},"
      f" logits {clip.logits.shape}; expected [T], [P] and [at most P, vocabulary]"
    )
  return clip


def check(path: str | os.PathLike[str], reference: str | os.PathLike[str]) -> list[ClipError]:
  """Runs every clip of a reference file through a checkpoint, each alone.

  Args:
    path: a converted checkpoint, or a training run.
    reference: the .npz file.

  Raises:
    ValueError: either cannot be used, or they are of different models.
  """
  clips = read_reference(reference)
  scorer = Scorer(path)
  utterances = [clip.utterance(scorer.geometry) for clip in clips]
  for clip in clips:
    if (size := clip.logits.shape[-1]) != scorer.vocab_size:
      raise ValueError(
        f"{reference}: logits_{clip.number} are over {size} tokens, the model's over"
        f" {scorer.vocab_size}; this is another model's reference"
      )
  return [
    compare(clip, scorer(utterance, len(clip.logits)))
    for clip, utterance in zip(clips, utterances, strict=True)
  ]


def compare(clip: ReferenceClip, logits: np.ndarray) -> ClipError:
  """The difference between `logits` and the clip's own, both [N, V]."""
  difference_N = np.abs(logits.astype(np.float64) - clip.logits).max(axis=-1)
  # argmax finds a NaN first, so that it cannot hide behind a number.
  worst = int(difference_N.argmax())
  return ClipError(
    number=clip.number,
    seconds=len(clip.samples) / SAMPLE_RATE,
    positions=len(logits),
    error=float(difference_N[worst] / np.abs(clip.logits).max()),
    worst_position=len(clip.input_ids) - len(logits) + worst,
    top1=float((logits.argmax(axis=-1) == clip.logits.argmax(axis=-1)).mean()),
  )


class Scorer:
  """A checkpoint's model in float32, for the logits of one clip at a time.

  Args:
    path: a converted checkpoint, or a training run.
  """

  def __init__(self, path: str | os.PathLike[str]) -> None:
    with pretrained_config(path, EXACT) as config:
      self._config, self.vocab_size = config, config.vocab_size
      self.geometry = encoder_config(config).geometry
    self._mesh = mesh = bridge.make_mesh(config, jax.devices()[:1])
    config, self._params = load_weights(
      config, mesh, config.load_parameters_path, lambda config: make_model(config, mesh)
    )
    with bridge.mesh_scope(config, mesh):
      abstract = nnx.eval_shape(lambda: make_model(config, mesh))
      graphdef, _, rest = nnx.split(abstract, nnx.Param, ...)
    self._run = jax.jit(functools.partial(_logits, graphdef, rest))

  def __call__(self, utterance: Utterance, last: int) -> np.ndarray:
    """Logits [last, V] of the last positions of the clip's prompt."""
    batch = make_decode_batch([utterance], pad_id=0).arrays
    end = len(utterance.prompt)
    positions_1N = np.arange(end - last, end)[None]
    with bridge.mesh_scope(self._config, self._mesh):
      return np.asarray(self._run(self._params, batch, positions_1N)[0])


def _logits(
  graphdef: nnx.GraphDef,
  abstract_rest: nnx.State,
  params: nnx.State,
  batch: Batch,
  positions_BN: Int[Array, "B N"],
) -> Float[Array, "B N V"]:
  rest = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), abstract_rest)
  model = nnx.merge(graphdef, params, rest, copy=True)
  hidden_BLD = model.hidden(batch)
  return model.head(jnp.take_along_axis(hidden_BLD, positions_BN[..., None], axis=1))


def print_errors(errors: list[ClipError], tolerance: float) -> bool:
  """Prints a table, a line a clip; returns whether every clip is within the tolerance."""
  names = ("clip", "seconds", "positions", "relative error", "worst position", "top-1 agreement")
  table = Table(*names, box=None, pad_edge=False)
  for error in errors:
    style = None if error.within(tolerance) else "red"
    cells = (
      f"{error.number}",
      f"{error.seconds:.2f}",
      f"{error.positions}",
      f"{error.error:.2e}",
      f"{error.worst_position}",
      f"{error.top1:.1%}",
    )
    table.add_row(*cells, style=style)
  for column in table.columns:
    column.justify = "right"
  passed = all(error.within(tolerance) for error in errors)
  console = Console()
  console.print(table)
  worst = float(np.max([error.error for error in errors]))
  verdict = "within" if passed else "past"
  console.print(f"relative error {worst:.2e}, {verdict} the tolerance of {tolerance:g}")
  return passed
