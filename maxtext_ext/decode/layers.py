"""Decoder layers for inference: MaxText's own parts, called one layer at a time.

The projections, norms, rotary embedding, feed-forward or mixture of experts of a layer are called
with their adapters, quantization and shardings. The loop over the layers, the attention and the KV
cache belong to the caller, who can keep the cache in place and give every clip its own position.

With `scan_layers` MaxText stacks the weights of all layers along `param_scan_axis`, so a program
that scans over them lays every matrix out anew whenever it runs. They are cut once instead, and lie
row by row, as kernels read them: a TPU would else turn those of experts whose width is no multiple
of 128, and every program would turn them back.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental.layout import Format, Layout
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from maxtext_ext import bridge
from maxtext_ext.models.make import make_model

# Parts of a layer that `run_layer` calls; a layer with others would be run wrongly.
_PARTS = frozenset({"pre_self_attention_layer_norm", "self_attention"})
_PARTS |= {"post_self_attention_layer_norm"}
_FEED_FORWARD = ("mlp", "moe_block")

# q [B, T, N, H], k and v [B, T, K, H], the layer's cache -> the output [B, T, N, H] and a cache.
Attend = Callable[[Any, Array, Array, Array, Any], tuple[Array, Any]]


class Weights(NamedTuple):
  """Parameters for inference: of the model without its decoder layers, and of each layer."""

  model: nnx.State
  layers: tuple[nnx.State, ...]


class SplitModel:
  """A model and its decoder layers as separate modules.

  Args:
    config: of the model; its `remat_policy` is not followed, as there is no backward pass.

  Raises:
    ValueError: layers of this `decoder_block` have parts that are not known here.
  """

  def __init__(self, config: bridge.Config, mesh: Mesh) -> None:
    config = bridge.replace(config, remat_policy="none")
    self.config = config
    with bridge.mesh_scope(config, mesh):
      model = nnx.eval_shape(lambda: make_model(config, mesh))
    self._axis = config.param_scan_axis
    count = config.num_decoder_layers
    self._names: tuple[str, ...] = ("layers",)
    if config.scan_layers:
      stack = model.decoder.layers
      layer_def, _, rest = nnx.split(stack, nnx.Param, ...)
      rest = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), rest)
      self._layers = [(layer_def, rest)] * count
    else:
      self._names = tuple(f"layers_{i}" for i in range(count))
      layers = [getattr(model.decoder, name) for name in self._names]
      splits = [nnx.split(layer, nnx.Param, ...) for layer in layers]
      self._layers = [(layer_def, rest) for layer_def, _, rest in splits]
      stack = layers[0]
    _check_parts(stack, config)
    for name in self._names:
      delattr(model.decoder, name)
    self._model_def, _, self._rest = nnx.split(model, nnx.Param, ...)

  @property
  def depth(self) -> int:
    """Number of decoder layers."""
    return len(self._layers)

  def weights(self, params: nnx.State, *, donate: bool = False) -> Weights:
    """Separates the parameters of the layers; scanned ones are copied.

    Args:
      params: of the model, as `make_model` has them; or their shapes and shardings.
      donate: free the memory of each scanned parameter as soon as it is copied.
    """
    flat = nnx.to_flat_state(params)
    of_layers: dict[str, list[Any]] = {name: [] for name in self._names}
    others = []
    for path, value in flat:
      if path[0] == "decoder" and path[1] in of_layers:
        of_layers[path[1]].append((path[2:], value))
      else:
        others.append((path, value))
    layers = [nnx.from_flat_state(pairs) for pairs in of_layers.values()]
    if self.config.scan_layers:
      leaves, form = jax.tree.flatten(layers[0])
      cut = [self._cut(leaf, donate) for leaf in leaves]
      layers = [jax.tree.unflatten(form, of_layer) for of_layer in zip(*cut, strict=True)]
    else:
      layers = jax.tree.map(_row_by_row, layers)
    return Weights(nnx.from_flat_state(others), tuple(layers))

  def _cut(self, stack: Any, donate: bool) -> list[Any]:
    """Cuts a parameter of all layers into those of each."""
    # MaxText stacks vectors along their first axis.
    axis = self._axis if stack.ndim > self._axis else 0
    shape = stack.shape[:axis] + stack.shape[axis + 1 :]
    placement: Any = stack.sharding
    if isinstance(placement, NamedSharding):
      spec = list(placement.spec) + [None] * (stack.ndim - len(placement.spec))
      placement = NamedSharding(placement.mesh, PartitionSpec(*spec[:axis], *spec[axis + 1 :]))
      placement = Format(Layout(tuple(range(len(shape)))), placement)
    if isinstance(stack, jax.ShapeDtypeStruct):
      return [jax.ShapeDtypeStruct(shape, stack.dtype, sharding=placement)] * self.depth
    cut = jax.jit(_cut_stack, static_argnames="axis", out_shardings=[placement] * self.depth)
    layers = cut(stack, axis=axis)
    if donate:
      stack.delete()
    return layers

  def model(self, weights: Weights) -> Any:
    """Builds the model without its decoder layers: encoder, projector, embeddings and head."""
    return nnx.merge(self._model_def, weights.model, _zeros(self._rest), copy=True)

  def run_layers(
    self,
    weights: Weights,
    x_BTD: Float[Array, "B T D"],
    positions_BT: Int[Array, "B T"],
    caches: Sequence[Any],
    attend: Attend,
  ) -> tuple[Float[Array, "B T D"], list[Any]]:
    """Applies all decoder layers.

    Args:
      caches: what `attend` gets as the cache of each layer.
      attend: takes a layer's attention module, its queries, keys, values and cache.

    Returns:
      hidden states before the final norm, and the caches that `attend` returned.
    """
    kept = []
    for (layer_def, rest), state, cache in zip(self._layers, weights.layers, caches, strict=True):
      layer = nnx.merge(layer_def, state, _zeros(rest), copy=True)
      x_BTD, new = run_layer(layer, x_BTD, positions_BT, cache, attend)
      kept.append(new)
    return x_BTD, kept


def _row_by_row(x: Any) -> Any:
  """Lays an array, or the shape of one, out row by row where it has another layout."""
  if not isinstance(x.sharding, NamedSharding):
    return x
  placement = Format(Layout(tuple(range(x.ndim))), x.sharding)
  if isinstance(x, jax.ShapeDtypeStruct):
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement)
  own: Any = x.format.layout
  return x if own.major_to_minor == tuple(range(x.ndim)) else jax.device_put(x, placement)


def _cut_stack(stack: Array, *, axis: int) -> list[Array]:
  return [jnp.take(stack, i, axis=axis) for i in range(stack.shape[axis])]


def run_layer(
  layer: Any, x_BTD: Array, positions_BT: Array, cache: Any, attend: Attend
) -> tuple[Array, Any]:
  """Applies one decoder layer of MaxText's, dense or a mixture of experts."""
  attention = layer.self_attention
  normed_BTD = layer.pre_self_attention_layer_norm(x_BTD)
  q_BTNH = attention.query_projection(normed_BTD)
  k_BTKH = attention.kv_projection(normed_BTD, "key")
  v_BTKH = attention.kv_projection(normed_BTD, "value")
  if attention.use_qk_norm:
    q_BTNH, k_BTKH = attention.query_norm(q_BTNH), attention.key_norm(k_BTKH)
  q_BTNH = attention.apply_rotary_embedding(q_BTNH, inputs_positions=positions_BT)
  k_BTKH = attention.apply_rotary_embedding(k_BTKH, inputs_positions=positions_BT)
  if attention.query_pre_attn_scalar:
    q_BTNH = q_BTNH * attention.query_pre_attn_scalar
  out_BTNH, kept = attend(attention, q_BTNH, k_BTKH, v_BTKH, cache)
  x_BTD = x_BTD + attention.out_projection(out_BTNH)
  normed_BTD = layer.post_self_attention_layer_norm(x_BTD)
  if hasattr(layer, "mlp"):
    return x_BTD + layer.mlp(normed_BTD, deterministic=True), kept
  return x_BTD + layer.moe_block(normed_BTD)[0], kept


def _check_parts(layer: Any, config: bridge.Config) -> None:
  parts = {name for name, value in vars(layer).items() if isinstance(value, nnx.Module)}
  # Dropout is for training.
  known = _PARTS | {"dropout"} | {name for name in _FEED_FORWARD if name in parts}
  attention = layer.self_attention
  unusual = config.fused_qkv or attention.share_kv_projections or attention.use_v_norm
  unusual = unusual or attention.is_qwen3_hybrid or attention.sinks is not None
  if len(parts & set(_FEED_FORWARD)) != 1 or not _PARTS <= parts <= known or unusual:
    block = getattr(config.decoder_block, "value", config.decoder_block)
    raise ValueError(
      f"decoder_block={block}: layers of {', '.join(sorted(parts))} cannot be decoded; expected"
      " attention and feed-forward as of llama2, mistral, qwen2, qwen3 or qwen3_moe, no fused_qkv"
    )


def _zeros(state: nnx.State) -> nnx.State:
  """Makes the state that is no parameter: random streams, which inference does not use."""

  def zeros(x: Any) -> jax.Array:
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
      key = jax.random.key(0)
      return jnp.broadcast_to(key, x.shape)
    return jnp.zeros(x.shape, x.dtype)

  return jax.tree.map(zeros, state)
