"""Programs of decoding lowered from shapes: for compiling before the first clip, and for plans."""

from typing import Any

import jax
import numpy as np

from maxtext_ext.decode.layers import Weights
from maxtext_ext.decode.programs import Programs, placed
from maxtext_ext.decode.slots import Lane, Writing, pack_rows


def lower_prefill(programs: Programs, weights: Weights) -> Any:
  """Lowers the program `prefill`; call it in the scope of the mesh.

  Args:
    weights: arrays, or their shapes and shardings.

  Returns:
    what JAX compiles. A later call of the program finds it compiled.
  """
  empty = Lane(programs.shape, _no_clip).next_row()
  batch = pack_rows([empty], programs.shape, pad_id=0)
  return programs.jit_prefill.lower(weights, programs.abstract_ready(), _of_lanes(programs, batch))


def lower_window(programs: Programs, weights: Weights, places: int) -> Any:
  """Lowers the program `window` for slots of so many places, as `lower_prefill`."""
  lane = Lane(programs.shape, _no_clip)
  arrays = _of_lanes(programs, {**lane.entries(), "limits": lane.limits()})
  limit_B = arrays.pop("limits")
  return programs.jit_window.lower(
    weights,
    programs.abstract_pool(places),
    programs.abstract_ready(),
    arrays,
    limit_B,
    np.int32(1),
  )


def lower_step(programs: Programs, weights: Weights, places: int) -> Any:
  """Lowers one step of all slots alone, whose cost no loop hides."""
  layers, state = _opened(programs, places)
  step = jax.jit(programs.steps.step, donate_argnums=(1, 2))
  return step.lower(weights, layers, state, np.int32(1))


def lower_close(programs: Programs, places: int) -> Any:
  """Lowers the end of a window alone."""
  close = jax.jit(programs.steps.close, donate_argnums=(0, 1), out_shardings=programs.division.pool)
  return close.lower(*_opened(programs, places))


def _opened(programs: Programs, places: int) -> Any:
  opened = jax.eval_shape(programs.steps.open, programs.abstract_pool(places))
  return placed(opened, (programs.division.cache, programs.division.by_lane))


def _no_clip(*_: Any) -> Writing:
  raise AssertionError("no clip is added")


def _of_lanes(programs: Programs, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
  """Returns the shapes on all lanes of arrays of one."""
  lanes = programs.shape.lanes
  return {
    key: jax.ShapeDtypeStruct(
      (lanes * len(array), *array.shape[1:]), array.dtype, sharding=programs.division.by_lane
    )
    for key, array in arrays.items()
  }
