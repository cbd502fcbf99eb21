"""LoRA: low-rank updates beside frozen kernels.

An adapted layer computes x W + (alpha / rank) (x A) B; only A and B are trained. Experts of a
mixture, whose matrix products MaxText dispatches itself, get W + (alpha / rank) A B one layer at a
time, as PEFT does for them.

A layer is adapted in place: it takes a class that adds the update to what MaxText's layer or
`nnx.Linear` computes. qwix, MaxText's own choice, intercepts one method of a model while it is
traced: it does not see parameters that come to be inside a `lax.scan` (our encoder), nor the
grouped products of experts, nor methods other than `__call__` (generation), and it finds a kernel
by its shape.
"""

import math
import re
import string
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from maxtext_ext import bridge
from maxtext_ext.models.lora_dropout import STACK_AXIS, dropped

# Regexes over kernel names: paths of parameters without layer numbers and the last "/kernel", so
# that they hold for scanned and unscanned layers alike.
TARGETS = {
  "attention": r"decoder/layers/self_attention/(query|key|value|out)",
  "ffn": r"decoder/layers/mlp/(wi_0|wi_1|wo)",
  "experts": r"decoder/layers/moe_block/(wi_0|wi_1|wo)",
  "audio_tower": r"speech_encoder/(conv_out|layers/(self_attn/(q|k|v|out)_proj|fc[12]))",
  "projector": r"projector/linear_[12]",
}
LORA_A, LORA_B = "_lora_a", "_lora_b"  # follow the kernel's name, as in MaxText and qwix
Weights = jax.Array | np.ndarray


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
  """Targets and strength of adapters.

  Attributes:
    rank: columns of A and rows of B.
    alpha: the update counts alpha / rank times.
    targets: keys of TARGETS, or regexes over whole kernel names.
  """

  rank: int
  alpha: float
  targets: tuple[str, ...]

  def __post_init__(self) -> None:
    if self.rank < 1 or self.alpha <= 0:
      raise ValueError(f"lora_rank={self.rank}, lora_alpha={self.alpha}: expected positive values")
    if not self.targets:
      raise ValueError(f"lora_targets is empty, expected some of {', '.join(TARGETS)}, or regexes")

  @property
  def scale(self) -> float:
    """The factor of A B."""
    return self.alpha / self.rank

  @classmethod
  def from_config(cls, config: Any) -> Self | None:
    """Reads a run's `lora_*` keys; None when `lora_rank` is 0."""
    if not config.lora_rank:
      return None
    return cls(rank=config.lora_rank, alpha=config.lora_alpha, targets=tuple(config.lora_targets))


@dataclass(frozen=True, kw_only=True)
class KernelAxes:
  """Meaning of a kernel's axes: first `batch` (experts), then `inputs`, then outputs.

  `stack` is the place of the axis that counts scanned layers, in the kernel, A and B alike; None
  where layers are not scanned. A is [batch, inputs, rank], B [batch, rank, outputs].
  """

  batch: int
  inputs: int
  stack: int | None

  def split(self, axes: Sequence[Any]) -> tuple[tuple, tuple, tuple]:
    """Splits a kernel's axes (sizes, names) into batch, inputs, outputs; drops the stack."""
    own = [x for i, x in enumerate(axes) if i != self.stack]
    inner = self.batch + self.inputs
    return tuple(own[: self.batch]), tuple(own[self.batch : inner]), tuple(own[inner:])

  def adapters(self, axes: Sequence[Any], rank: Any) -> tuple[tuple, tuple]:
    """Returns the same entries for A and B, with `rank` for the axis between them."""
    batch, inputs, outputs = self.split(axes)
    a, b = (
      own if self.stack is None else (*own[: self.stack], axes[self.stack], *own[self.stack :])
      for own in ((*batch, *inputs, rank), (*batch, rank, *outputs))
    )
    return a, b


def kernel_update(lora_a: Weights, lora_b: Weights, axes: KernelAxes, scale: float) -> Weights:
  """Computes scale * A B in the kernel's shape, of numpy or JAX arrays."""
  ndim = lora_a.ndim + lora_b.ndim - 2 - axes.batch - (axes.stack is not None)
  kernel = string.ascii_lowercase[:ndim]
  a_names, b_names = ("".join(names) for names in axes.adapters(kernel, "z"))
  product = f"{a_names},{b_names}->{kernel}"
  if isinstance(lora_a, np.ndarray):
    return scale * np.einsum(product, lora_a, lora_b, optimize=True)
  return scale * jnp.einsum(product, lora_a, lora_b, precision=jax.lax.Precision.HIGHEST)


def merge_kernel(
  kernel: Weights, lora_a: Weights, lora_b: Weights, axes: KernelAxes, scale: float
) -> Weights:
  """Computes W + scale * A B in float32; returns W's dtype. Takes numpy or JAX arrays."""
  update = kernel_update(lora_a, lora_b, axes, scale)
  return (kernel.astype(update.dtype) + update).astype(kernel.dtype)


def _low_rank(
  x: Float[Array, "..."],
  lora_a: Array,
  lora_b: Array,
  contracted: Sequence[int],
  scale: float,
  precision: Any,
) -> Float[Array, "..."]:
  """Computes scale * (x A) B in x's dtype; x is contracted over its axes `contracted`."""
  inputs = tuple(range(lora_a.ndim - 1))
  low = jnp.tensordot(x, lora_a.astype(x.dtype), (contracted, inputs), precision=precision)
  return scale * jnp.tensordot(low, lora_b.astype(x.dtype), 1, precision=precision)


class LoraLinear(nnx.Linear):
  """nnx.Linear with a low-rank update."""

  def __call__(self, x: Float[Array, "... I"]) -> Float[Array, "... O"]:
    """Computes x W + b + scale (x A) B."""
    y = super().__call__(x)
    a, b = self.kernel_lora_a[...], self.kernel_lora_b[...]
    x = dropped(self, x.astype(y.dtype))
    update = _low_rank(x, a, b, (-1,), self.lora_scale, self.precision)
    return y + update


class LoraDense(bridge.DenseGeneral):
  """MaxText's DenseGeneral, for kernels of several input and output axes, with an update."""

  def __call__(self, inputs: Array, *args: Any, **kwargs: Any) -> Array:
    """Computes inputs W + scale (inputs A) B."""
    assert kwargs.get("slice_bounds") is None, "a slice of an adapted kernel"
    y = super().__call__(inputs, *args, **kwargs)
    x = dropped(self, jnp.asarray(inputs, self.dtype))
    a, b = self.kernel_lora_a[...], self.kernel_lora_b[...]
    precision = jax.lax.Precision(self.matmul_precision)
    return y + _low_rank(x, a, b, self.axis, self.lora_scale, precision).astype(y.dtype)


EXPERT_AXES = KernelAxes(batch=1, inputs=1, stack=None)


class LoraExperts(bridge.RoutedMoE):
  """MaxText's routed experts, run with updated kernels."""

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    """Returns the experts' outputs and MaxText's losses."""
    with self._updated():
      return super().__call__(*args, **kwargs)

  @contextmanager
  def _updated(self):
    kernels = {name: getattr(self, name) for name in self.lora_kernels}
    try:
      for name, kernel in kernels.items():
        a, b = (getattr(self, name + end)[...] for end in (LORA_A, LORA_B))
        merged = merge_kernel(kernel[...], a, b, EXPERT_AXES, self.lora_scale)
        setattr(self, name, nnx.Param(merged, **kernel.get_metadata()))
      yield
    finally:
      for name, kernel in kernels.items():
        setattr(self, name, kernel)


def _kernels(module: nnx.Module) -> dict[str, tuple[nnx.Param, int, int]]:
  """Returns a layer's adaptable kernels: (parameter, batch axes, input axes) by name."""
  if type(module) is nnx.Linear:
    return {"kernel": (module.kernel, 0, 1)}
  if type(module) is bridge.DenseGeneral:
    return {"kernel": (module.kernel, 0, len(module.in_features_shape))}
  if type(module) is bridge.RoutedMoE:
    names = [name for name in ("wi_0", "wi_1", "wo") if hasattr(module, name)]
    return {name: (getattr(module, name), 1, 1) for name in names}
  return {}


ADAPTED = {
  nnx.Linear: LoraLinear,
  bridge.DenseGeneral: LoraDense,
  bridge.RoutedMoE: LoraExperts,
}


def kernel_name(path: Sequence[Any]) -> str:
  """Returns the name that targets are matched with, from a kernel's path in the model."""
  parts = [re.sub(r"^layers_\d+$", STACK_AXIS, str(part)) for part in path]
  return "/".join(parts[:-1] if parts[-1] == "kernel" else parts)


def is_target(name: str, targets: Sequence[str]) -> bool:
  """Returns whether one of the targets names this kernel."""
  return any(re.fullmatch(TARGETS.get(target, target), name) for target in targets)


def find_kernels(model: nnx.Module) -> dict[tuple, KernelAxes]:
  """Returns the axes of every kernel that can be adapted and is not yet, by path."""
  found = {}
  for path, module in nnx.iter_graph(model):
    if isinstance(module, nnx.Module):
      for name, (kernel, batch, inputs) in _kernels(module).items():
        names = kernel.get_metadata().get("out_sharding") or ()
        stack = names.index(STACK_AXIS) if STACK_AXIS in names else None
        found[(*path, name)] = KernelAxes(batch=batch, inputs=inputs, stack=stack)
  return found


def apply_lora(model: nnx.Module, lora: LoraConfig, key: jax.Array) -> dict[tuple, KernelAxes]:
  """Adapts the layers that `lora` targets, in place; the model computes what it did before.

  A is drawn as PEFT draws it, uniform within 1 / sqrt(inputs); B is zero. Both are float32
  whatever the dtype of the weights, and lie on the mesh as the kernel's axes do.

  Returns:
    the adapted kernels' axes by path.

  Raises:
    ValueError: when a target is no regex or names no kernel of the model.
  """
  kernels = {path: (kernel_name(path), axes) for path, axes in find_kernels(model).items()}
  names = sorted({name for name, _ in kernels.values()})
  for target in lora.targets:
    try:
      matched = any(is_target(name, [target]) for name in names)
    except re.error as error:
      raise ValueError(f"lora_targets: {target!r} is no regex ({error})") from error
    if not matched:
      raise ValueError(
        f"lora_targets: {target!r} names no kernel of this model; expected some of"
        f" {', '.join(TARGETS)}, or regexes for any of: {', '.join(names)}"
      )
  chosen = {p: axes for p, (name, axes) in kernels.items() if is_target(name, lora.targets)}
  for number, (path, axes) in enumerate(sorted(chosen.items(), key=lambda item: str(item[0]))):
    _adapt(_module_at(model, path[:-1]), path[-1], axes, lora, jax.random.fold_in(key, number))
  return chosen


def _module_at(model: nnx.Module, path: Sequence[Any]) -> Any:
  for part in path:
    model = model[part] if isinstance(part, int) else getattr(model, part)
  return model


def _adapt(module: Any, name: str, axes: KernelAxes, lora: LoraConfig, key: jax.Array) -> None:
  kernel = getattr(module, name)
  shape = kernel.get_value().shape
  metadata = kernel.get_metadata()
  metadata.pop("sharding_names", None)  # another name of out_sharding, which would win over it
  names = metadata.pop("out_sharding") or (None,) * len(shape)
  a_shape, b_shape = axes.adapters(shape, lora.rank)
  a_names, b_names = axes.adapters(names, None)
  bound = 1 / math.sqrt(math.prod(axes.split(shape)[1]))
  a = jax.random.uniform(key, a_shape, jnp.float32, -bound, bound)
  b = jnp.zeros(b_shape, jnp.float32)
  setattr(module, name + LORA_A, nnx.LoRAParam(a, out_sharding=a_names, **metadata))
  setattr(module, name + LORA_B, nnx.LoRAParam(b, out_sharding=b_names, **metadata))
  module.lora_scale = lora.scale
  if isinstance(module, bridge.RoutedMoE):
    module.lora_kernels = (*getattr(module, "lora_kernels", ()), name)
  module.__class__ = ADAPTED.get(type(module), type(module))
