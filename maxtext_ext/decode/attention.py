"""Attention over packed prompts and over the slots of a KV cache, one implementation per platform.

All functions compute for the slots or the row of one device. Their results for a clip depend on
nothing else, to the last bit: arrays have the same shapes whatever is in them, a clip's keys begin
at the first place of its slot, blocks of keys are added up one after another, and a block of which
nothing is seen adds exactly 0. So the answer depends neither on the other clips nor on the number
of blocks.
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

MASKED = -1e30  # a score; finite, so that rows without any key stay finite
_PALLAS_BLOCK = 128  # places; slots have a multiple of it

Block = Float[Array, "B K S H"]  # places of all slots, keys or values
Partial = tuple[Array, Array, Array]  # maximum, sum of weights, sum of weighted values


# --- One query of every slot ----------------------------------------------------------------------


def write(
  blocks: Sequence[Block], new_BTKH: Float[Array, "B T K H"], place_BT: Int[Array, "B T"]
) -> list[Block]:
  """Writes keys or values at their places of each slot; a negative place: nowhere.

  In place, where the blocks are donated.
  """
  row_BT = jnp.arange(len(new_BTKH))[:, None] + jnp.zeros_like(place_BT)
  first, written = 0, []
  for block_BKSH in blocks:
    size = block_BKSH.shape[2]
    own_BT = place_BT - first
    own_BT = jnp.where((own_BT >= 0) & (own_BT < size), own_BT, size)  # beyond the end: dropped
    new = new_BTKH.astype(block_BKSH.dtype)
    written.append(block_BKSH.at[row_BT, :, own_BT].set(new, mode="drop"))
    first += size
  return written


def write_by_product(
  blocks: Sequence[Block], new_BTKH: Float[Array, "B T K H"], place_BT: Int[Array, "B T"]
) -> list[Block]:
  """Writes as `write`, at different places, by products with 0 and 1; leaves other blocks alone.

  The TPU's compiler fuses the product with the selection, which reads and writes the cache once;
  around a scatter it would copy the cache to another layout and back.
  """
  new_BKTH = new_BTKH.swapaxes(1, 2)
  first, written = 0, []
  for block_BKSH in blocks:
    size = block_BKSH.shape[2]
    is_place_BST = (first + jnp.arange(size))[:, None] == place_BT[:, None]
    operands = block_BKSH, new_BKTH, is_place_BST
    written.append(lax.cond(jnp.any(is_place_BST), _put, lambda block, *_: block, *operands))
    first += size
  return written


def _put(block_BKSH: Array, new_BKTH: Array, is_place_BST: Array) -> Array:
  slots, groups, size, _ = block_BKSH.shape
  is_place_BKST = jnp.broadcast_to(is_place_BST[:, None], (slots, groups, size, new_BKTH.shape[2]))
  own_BKSH = jnp.einsum(
    "BKST,BKTH->BKSH",
    is_place_BKST.astype(new_BKTH.dtype),
    new_BKTH,
    precision=lax.Precision.HIGHEST,  # exact in float32 too
  )
  is_new_BS = jnp.any(is_place_BST, axis=-1)[:, None, :, None]
  return jnp.where(is_new_BS, own_BKSH.astype(block_BKSH.dtype), block_BKSH)


class Segment(NamedTuple):
  """Places of all slots, and which of them are seen in each: from `low` on, before `high`."""

  keys: Block
  values: Block
  low: Int[Array, "B"]
  high: Int[Array, "B"]


def segments_of(
  keys: Sequence[Block], values: Sequence[Block], length_B: Int[Array, "B"]
) -> list[Segment]:
  """Returns the blocks of slots of which the first `length_B` places are seen."""
  first, made = 0, []
  for k_BKSH, v_BKSH in zip(keys, values, strict=True):
    made.append(Segment(k_BKSH, v_BKSH, jnp.zeros_like(length_B), length_B - first))
    first += k_BKSH.shape[2]
  return made


def attend_slots(q_BNH: Float[Array, "B N H"], segments: Sequence[Segment]) -> Array:
  """Attends to what is seen of each slot, [B, N, H].

  Segments but the first are not read where nothing of them is seen in any slot.
  """
  slots, heads, size = q_BNH.shape
  q_BKRH = q_BNH.reshape(slots, segments[0].keys.shape[1], -1, size)
  seen = [segment.high > segment.low for segment in segments]
  out_BKRH = attend_in_turn(q_BKRH, segments, seen, _attend_segment)
  return out_BKRH.reshape(slots, heads, size).astype(q_BNH.dtype)


def attend_in_turn[T](
  q_BKRH: Array, parts: Sequence[T], seen: Sequence[Array], attend: Callable[[Array, T], Partial]
) -> Array:
  """Attends to one part of the places after the other, [B, K, R, H] float32.

  Args:
    seen: of each part, whether anything of it is seen: any True. Parts but the first are not read
      otherwise.
    attend: sums of a part.
  """
  sums = attend(q_BKRH, parts[0])
  for part, any_seen in zip(parts[1:], seen[1:], strict=True):
    sums = lax.cond(
      jnp.any(any_seen),
      lambda sums, q_BKRH, part: _merge(sums, attend(q_BKRH, part)),
      lambda sums, *_: sums,
      sums,
      q_BKRH,
      part,
    )
  _, total_BKR, sum_BKRH = sums
  return sum_BKRH / total_BKR[..., None]


def _attend_segment(q_BKRH: Array, segment: Segment) -> Partial:
  k_BKSH, v_BKSH, low_B, high_B = segment
  place_S = jnp.arange(k_BKSH.shape[2])
  seen_BS = (place_S >= low_B[:, None]) & (place_S < high_B[:, None])
  return attend_places(q_BKRH, k_BKSH, v_BKSH, seen_BS[:, None, None])


def attend_places(q_BKRH: Array, k_BKSH: Array, v_BKSH: Array, seen_BKRS: Array) -> Partial:
  """Attends to some places, for `attend_in_turn`.

  Args:
    seen_BKRS: which of them each query sees; an axis may be 1.
  """
  scores_BKRS = jnp.einsum("BKRH,BKSH->BKRS", q_BKRH, k_BKSH, preferred_element_type=jnp.float32)
  scores_BKRS = jnp.where(seen_BKRS, scores_BKRS, MASKED)
  top_BKR = jnp.max(scores_BKRS, axis=-1)
  weights_BKRS = jnp.exp(scores_BKRS - top_BKR[..., None])
  sum_BKRH = jnp.einsum(
    "BKRS,BKSH->BKRH",
    weights_BKRS.astype(v_BKSH.dtype),
    v_BKSH,
    preferred_element_type=jnp.float32,
  )
  return top_BKR, jnp.sum(weights_BKRS, axis=-1), sum_BKRH


def _merge(sums: Partial, more: Partial) -> Partial:
  """Adds the sums of places to those of the places before them."""
  top = jnp.maximum(sums[0], more[0])
  old, new = jnp.exp(sums[0] - top), jnp.exp(more[0] - top)
  return (
    top,
    sums[1] * old + more[1] * new,
    sums[2] * old[..., None] + more[2] * new[..., None],
  )


def attend_by_pallas(
  q_BNH: Float[Array, "B N H"], segments: Sequence[Segment], *, interpret: bool
) -> Array:
  """Attends as `attend_slots` to one segment, by JAX's kernel for a GPU.

  It reads each slot to its own length, and divides long ones among the processors.

  Args:
    interpret: run it on a CPU, for tests.
  """
  (segment,) = segments
  slots, groups, places, size = segment.keys.shape
  # Deprecated in favour of tokamax, whose attention takes a mask of all places.
  with warnings.catch_warnings(category=DeprecationWarning, action="ignore"):
    from jax.experimental.pallas.ops.gpu import decode_attention

  out = decode_attention.mqa(
    q_BNH.reshape(slots * groups, -1, size),
    segment.keys.reshape(slots * groups, places, size),
    segment.values.reshape(slots * groups, places, size),
    start_idx=jnp.repeat(segment.low, groups),
    kv_seq_len=jnp.repeat(segment.high, groups),
    sm_scale=1.0,
    block_k=_PALLAS_BLOCK,
    k_splits=places // _PALLAS_BLOCK,
    interpret=interpret,
  )
  return out.reshape(q_BNH.shape)


AttendSlots = Callable[[Array, Sequence[Segment]], Array]
_KERNELS: dict[str, Callable[..., Array]] = {"gpu": attend_by_pallas}  # by platform
# Platforms on which a window writes keys and values at one shared index of a buffer, and moves them
# to their slots at its end: a scatter in every step would copy the cache to another layout there.
BUFFERED = frozenset({"tpu"})


def find_attention(platform: str, devices: str) -> AttendSlots:
  """Returns the attention over slots of a platform.

  Args:
    devices: the platform of the devices themselves; "cpu": kernels of others are interpreted.
  """
  if kernel := _KERNELS.get(platform):
    return functools.partial(kernel, interpret=devices == "cpu")
  return attend_slots


# --- Packed prompts -------------------------------------------------------------------------------


def attend_packed(
  q_LNH: Float[Array, "L N H"],
  k_LKH: Float[Array, "L K H"],
  v_LKH: Float[Array, "L K H"],
  starts_X: Int[Array, "X"],
  clip_starts_X: Int[Array, "X"],
  clip_ends_X: Int[Array, "X"],
  count: Int[Array, ""],
  *,
  block: int,
) -> Float[Array, "L N H"]:
  """Causal attention of each clip in a packed row, by blocks of its own queries and keys.

  No scores between clips are computed, and the blocks of a clip lie alike wherever it stands in
  the row.

  Args:
    starts_X: first row of each block of `block` queries, in order. A block may reach beyond its
      clip; what it writes there is overwritten by the next.
    clip_starts_X, clip_ends_X: rows of the clip of each block.
    count: blocks that there are.
  """
  length, heads, size = q_LNH.shape
  groups = k_LKH.shape[1]
  padding = ((0, block), (0, 0), (0, 0))
  q_PKRH = jnp.pad(q_LNH, padding).reshape(length + block, groups, -1, size)
  k_KPH = jnp.pad(k_LKH, padding).swapaxes(0, 1)
  v_KPH = jnp.pad(v_LKH, padding).swapaxes(0, 1)
  per = q_PKRH.shape[2]

  def add_queries(number: Array, out_PKRH: Array) -> Array:
    start, clip_start, clip_end = starts_X[number], clip_starts_X[number], clip_ends_X[number]
    q_QKRH = lax.dynamic_slice_in_dim(q_PKRH, start, block)
    q_KXH = q_QKRH.transpose(1, 0, 2, 3).reshape(groups, block * per, size)
    row_X = start + jnp.arange(block * per) // per

    def add_keys(number: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
      top_KX, total_KX, sum_KXH = carry
      first = clip_start + number * block
      k_KSH = lax.dynamic_slice_in_dim(k_KPH, first, block, axis=1)
      v_KSH = lax.dynamic_slice_in_dim(v_KPH, first, block, axis=1)
      scores_KXS = jnp.einsum("KXH,KSH->KXS", q_KXH, k_KSH, preferred_element_type=jnp.float32)
      key_S = first + jnp.arange(block)
      seen_XS = (key_S <= row_X[:, None]) & (key_S < clip_end)
      scores_KXS = jnp.where(seen_XS, scores_KXS, MASKED)
      new_KX = jnp.maximum(top_KX, jnp.max(scores_KXS, axis=-1))
      fade_KX = jnp.exp(top_KX - new_KX)
      weights_KXS = jnp.exp(scores_KXS - new_KX[..., None])
      total_KX = total_KX * fade_KX + jnp.sum(weights_KXS, axis=-1)
      added_KXH = jnp.einsum(
        "KXS,KSH->KXH", weights_KXS.astype(v_KSH.dtype), v_KSH, preferred_element_type=jnp.float32
      )
      return new_KX, total_KX, sum_KXH * fade_KX[..., None] + added_KXH

    begin = (
      jnp.full((groups, block * per), MASKED, jnp.float32),
      jnp.zeros((groups, block * per), jnp.float32),
      jnp.zeros((groups, block * per, size), jnp.float32),
    )
    blocks = (start - clip_start) // block + 1
    _, total_KX, sum_KXH = lax.fori_loop(0, blocks, add_keys, begin)
    done_KXH = sum_KXH / total_KX[..., None]
    done_QKRH = done_KXH.reshape(groups, block, per, size).transpose(1, 0, 2, 3)
    return lax.dynamic_update_slice_in_dim(out_PKRH, done_QKRH.astype(out_PKRH.dtype), start, 0)

  out_PKRH = lax.fori_loop(0, count, add_queries, jnp.zeros_like(q_PKRH))
  return out_PKRH[:length].reshape(length, heads, size)


def query_blocks(clips: list[tuple[int, int]], block: int) -> list[tuple[int, int, int]]:
  """Lists the blocks of `attend_packed`: first row, and first row and end of the clip.

  Args:
    clips: first row and end of each, in order.
  """
  return [(row, start, end) for start, end in clips for row in range(start, end, block)]
