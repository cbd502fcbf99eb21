"""Greedy CTC decoding: the likeliest symbol of every frame, without repeats and blanks.

Source: best path decoding of Graves et al. 2006, "Connectionist temporal classification".
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Int

from maxtext_ext import bridge
from maxtext_ext.decode.interface import Engine, Written
from maxtext_ext.models.interface import Batch
from maxtext_ext.models.make import make_model
from maxtext_ext.parallel import local_rows, to_device
from maxtext_ext.progress import announce_first_call
from maxtext_ext.text.alphabet import BLANK
from maxtext_ext.text.vocabulary import Vocabulary


def collapse(path_F: Int[np.ndarray, "F"]) -> list[int]:
  """Collapses a path of frames to labels: merges equal neighbours, then drops blanks.

  [1, 1, 0, 1, 2, 2, 0, 0, 3] -> [1, 1, 2, 3]
  """
  first = np.ones(len(path_F), bool)
  first[1:] = path_F[1:] != path_F[:-1]
  return path_F[first & (path_F != BLANK)].tolist()


class CTCEngine(Engine):
  """Greedy best path of a CTC model.

  The model has `emissions(batch) -> (logits [B, F, V], lengths [B])`: logits of every frame with
  the blank at index 0, and how many frames of each row are of its clip; 0 for an empty row.
  """

  def __init__(
    self, config: bridge.Config, mesh: Mesh, tokenizer: Vocabulary, *, announce: bool = False
  ) -> None:
    super().__init__(config, mesh, tokenizer, announce=announce)
    self._placement = bridge.input_sharding(config, mesh)
    self._programs = functools.cache(self._program)

  def write(self, params: nnx.State, arrays: dict[str, np.ndarray]) -> list[Written]:
    """Decodes the best path of each row; answers are always complete."""
    batch = to_device(arrays, self._placement)
    shapes = tuple((name, array.shape, array.dtype.name) for name, array in sorted(batch.items()))
    with bridge.mesh_scope(self._config, self._mesh):
      path_BF = local_rows(self._programs(shapes)(params, batch))
    return [Written(tokens=collapse(path_F), complete=True) for path_F in path_BF]

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
