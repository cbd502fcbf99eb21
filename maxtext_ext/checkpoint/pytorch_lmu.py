"""State dicts of pytorch-lmu (github.com/hrshtv/pytorch-lmu) as our layers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from maxtext_ext.models.lmu import LMU, LMUFFT, LMUConfig, discretise

# Our name of each of their parameters, which are [out, in].
RECURRENT = {f"cell.{name}": name.lower() for name in ("e_x", "e_h", "e_m", "W_x", "W_h", "W_m")}
PARALLEL = {"W_u.weight": "w_u", "W_u.bias": "b_u", "W_h.weight": "w_h", "W_h.bias": "b_h"}


def from_pytorch_lmu(state: Mapping[str, Any], theta: float) -> LMU | LMUFFT:
  """Makes the layer of a state dict of their `LMU` or `LMUFFT`.

  Args:
    state: arrays or CPU tensors by their names.
    theta: of the layer; state dicts do not hold it.

  Raises:
    ValueError: a parameter is missing, or the memory's matrix A is not that of `theta`, as when it
      was learned.
  """
  names = RECURRENT if "cell.e_x" in state else PARALLEL
  if missing := sorted(set(names) - set(state)):
    raise ValueError(f"{', '.join(missing)} missing: expected a state dict of LMU or LMUFFT")
  weights = {ours: np.asarray(state[theirs]).T for theirs, ours in names.items()}
  if names is RECURRENT:
    inputs, hidden = weights["w_x"].shape
    memory = len(weights["w_m"])
  else:
    inputs, joined = len(weights["w_u"]), weights.pop("w_h")  # of the memory, then of the input
    memory, hidden = len(joined) - inputs, joined.shape[1]
    weights |= {"w_m": joined[:memory], "w_x": joined[memory:]}
  _check_memory(state, memory, theta)
  config = LMUConfig(inputs=inputs, hidden=hidden, memory=memory, theta=theta)
  layer = (LMU if names is RECURRENT else LMUFFT)(config, rngs=nnx.Rngs(params=0))
  nnx.update(layer, {name: nnx.Param(weight) for name, weight in weights.items()})
  return layer


def _check_memory(state: Mapping[str, Any], memory: int, theta: float) -> None:
  """Raises ValueError when the stored matrix A is another."""
  for name in ("A", "cell.A"):
    if name in state and not np.allclose(state[name], discretise(memory, theta)[0], atol=1e-4):
      raise ValueError(f"{name} is not that of theta={theta:g} and {memory} coefficients")
