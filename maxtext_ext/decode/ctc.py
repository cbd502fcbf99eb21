"""Greedy CTC decoding: the likeliest symbol of every frame, without repeats and blanks.

Source: best path decoding of Graves et al. 2006, "Connectionist temporal classification".
"""

import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Int

from maxtext_ext import bridge
from maxtext_ext.decode.interface import Answer, Engine, Written
from maxtext_ext.decode.request import Request
from maxtext_ext.input.collate import decode_shape, make_decode_batch
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.models.interface import Batch
from maxtext_ext.models.make import make_model
from maxtext_ext.parallel import largest_of_hosts, local_rows, to_device
from maxtext_ext.progress import announce_first_call
from maxtext_ext.text.alphabet import BLANK
from maxtext_ext.text.vocabulary import Vocabulary

_SHAPES = 16  # clips of 1, 2, 4, ... windows
_READ_AHEAD = 4  # batches


def collapse(path_F: Int[np.ndarray, "F"]) -> list[int]:
  """Collapses a path of frames to labels: merges equal neighbours, then drops blanks.

  [1, 1, 0, 1, 2, 2, 0, 0, 3] -> [1, 1, 2, 3]
  """
  first = np.ones(len(path_F), bool)
  first[1:] = path_F[1:] != path_F[:-1]
  return path_F[first & (path_F != BLANK)].tolist()


class CTCEngine(Engine):
  """Greedy best path of a CTC model, in batches of clips of about one length.

  The model has `emissions(batch) -> (logits [B, F, V], lengths [B])`: logits of every frame with
  the blank at index 0, and how many frames of each row are of its clip; 0 for an empty row.
  """

  def __init__(
    self, config: bridge.Config, mesh: Mesh, tokenizer: Vocabulary, *, announce: bool = False
  ) -> None:
    super().__init__(config, mesh, tokenizer, announce=announce)
    self._placement = bridge.input_sharding(config, mesh)
    self._programs = functools.cache(self._program)

  def run(
    self,
    weights: nnx.State,
    clips: Iterable[Request],
    *,
    each_round: Callable[[], None] | None = None,
  ) -> Iterator[Answer]:
    """Decodes clips; their answers are always complete.

    In each round all processes decode a batch of one shape, that of which some process has most
    clips.
    """
    utterances = (self._check(clip).utterance for clip in clips)
    waiting = defaultdict[int, list[Utterance]](list)
    devices = jax.local_device_count()
    ahead = _READ_AHEAD * self._config.decode_rows * devices
    while True:
      if each_round is not None:
        each_round()
      room = ahead - sum(map(len, waiting.values()))
      for clip in itertools.islice(utterances, room):
        waiting[(decode_shape(clip)[0] - 1).bit_length()].append(clip)
      counts = largest_of_hosts(np.array([len(waiting[shape]) for shape in range(_SHAPES)]))
      if not counts.any():
        return
      shape = int(counts.argmax())
      # Long clips come in smaller batches. Rows are few where clips are, in powers of two.
      most = max(1, self._config.decode_rows >> shape) * devices
      rows = devices
      while rows < min(int(counts[shape]), most):
        rows *= 2
      batch, waiting[shape] = waiting[shape][:rows], waiting[shape][rows:]
      yield from self._decode(weights, batch, 1 << shape, rows)

  def _decode(
    self, params: nnx.State, clips: list[Utterance], windows: int, rows: int
  ) -> Iterator[Answer]:
    batch = make_decode_batch(
      clips,
      pad_id=self._tokenizer.pad_id,
      rows=rows,
      shape=(windows, 0),
      audio_dtype=self._config.audio_dtype,
      geometry=encoder_config(self._config).geometry,
    )
    # Rows behind the last clip are empty.
    for clip, written in zip(batch.utterances, self.write(params, batch.arrays), strict=False):
      yield self._answer(clip, written)

  def write(self, params: nnx.State, arrays: dict[str, np.ndarray]) -> list[Written]:
    """Decodes the best path of each row; answers are always complete."""
    batch = to_device(arrays, self._placement)
    shapes = tuple((name, array.shape, array.dtype.name) for name, array in sorted(batch.items()))
    with bridge.mesh_scope(self._config, self._mesh):
      path_BF = local_rows(self._programs(shapes)(params, batch))
    return [Written(tokens=collapse(path_F), finish_reason="stop") for path_F in path_BF]

  def _program(self, shapes: tuple[tuple[str, tuple[int, ...], str], ...]):
    abstract = nnx.eval_shape(lambda: make_model(self._config, self._mesh))
    graphdef, _, rest = nnx.split(abstract, nnx.Param, ...)
    run = functools.partial(_best_path, graphdef, rest, vocab_size=self._tokenizer.vocab_size)
    return announce_first_call(
      jax.jit(run, out_shardings=self._placement),
      f"compiling the decoder for {shapes[0][1][0]} clips",
      visible=self._announce,
    )


def _best_path(
  graphdef: nnx.GraphDef,
  abstract_rest: nnx.State,
  params: nnx.State,
  batch: Batch,
  *,
  vocab_size: int,
) -> Int[Array, "B F"]:
  """Returns the likeliest symbol of every frame, blank after a row's end."""
  rest = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), abstract_rest)
  logits_BFV, lengths_B = nnx.merge(graphdef, params, rest, copy=True).emissions(batch)
  path_BF = jnp.argmax(logits_BFV[..., :vocab_size], axis=-1).astype(jnp.int32)
  is_real_BF = jnp.arange(path_BF.shape[1]) < lengths_B[:, None]
  return jnp.where(is_real_BF, path_BF, BLANK)
