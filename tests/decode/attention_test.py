"""Attention over slots and packed prompts against plain softmax, clip by clip."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maxtext_ext.decode.attention import (
  attend_packed,
  attend_slots,
  find_attention,
  query_blocks,
  segments_of,
  write,
  write_by_product,
)

SLOTS, HEADS, GROUPS, SIZE = 3, 4, 2, 16


def attend_plainly(q_NH: np.ndarray, k_SKH: np.ndarray, v_SKH: np.ndarray) -> np.ndarray:
  """Softmax attention of one query over all places, in float64."""
  out = []
  for head, q_H in enumerate(q_NH.astype(np.float64)):
    group = head // (HEADS // GROUPS)
    scores_S = k_SKH[:, group].astype(np.float64) @ q_H
    weights_S = np.exp(scores_S - scores_S.max())
    out.append(weights_S @ v_SKH[:, group] / weights_S.sum())
  return np.stack(out)


def draw(*shape: int) -> jax.Array:
  rng = np.random.default_rng(sum(shape))
  return jnp.asarray(rng.normal(size=shape), jnp.float32)


@pytest.mark.parametrize("blocks", [1, 2])
def test_each_slot_is_attended_to_up_to_its_length(blocks):
  q_BNH = draw(SLOTS, HEADS, SIZE)
  keys = [draw(SLOTS, GROUPS, 256 // blocks, SIZE) + i for i in range(blocks)]
  values = [block[..., ::-1] for block in keys]
  lengths = [1, 128, 200]
  out = attend_slots(q_BNH, segments_of(keys, values, jnp.asarray(lengths)))
  k_BSKH, v_BSKH = (np.concatenate(x, axis=2).swapaxes(1, 2) for x in (keys, values))
  for slot, length in enumerate(lengths):
    want = attend_plainly(q_BNH[slot], k_BSKH[slot, :length], v_BSKH[slot, :length])
    np.testing.assert_allclose(out[slot], want, atol=1e-5)
  if blocks == 1:
    attend = find_attention("gpu", devices="cpu")
    by_kernel = attend(q_BNH, segments_of(keys, values, jnp.asarray(lengths)))
    np.testing.assert_allclose(by_kernel, out, atol=1e-5)


def test_more_blocks_change_no_bit():
  q_BNH = draw(SLOTS, HEADS, SIZE)
  block = draw(SLOTS, GROUPS, 128, SIZE)
  length_B = jnp.asarray([5, 128, 77])
  few, many = (
    attend_slots(q_BNH, segments_of([block] * count, [block] * count, length_B)) for count in (1, 4)
  )
  assert np.array_equal(few, many)
  # Another slot that reaches into the next block.
  longer = attend_slots(q_BNH, segments_of([block] * 4, [block] * 4, jnp.asarray([5, 128, 300])))
  assert np.array_equal(few[:2], longer[:2])


@pytest.mark.parametrize("write", [write, write_by_product])
def test_tokens_are_written_at_their_places(write):
  blocks = [jnp.zeros((SLOTS, GROUPS, 4, SIZE)), jnp.zeros((SLOTS, GROUPS, 4, SIZE))]
  new_BTKH = draw(SLOTS, 2, GROUPS, SIZE)
  places = [[3, 4], [-1, 0], [7, -1]]
  written = np.concatenate(write(blocks, new_BTKH, jnp.asarray(places)), axis=2)
  want = np.zeros((SLOTS, GROUPS, 8, SIZE), np.float32)
  for slot, row in enumerate(places):
    for token, place in enumerate(row):
      if place >= 0:
        want[slot, :, place] = new_BTKH[slot, token]
  assert np.array_equal(written, want)


@pytest.mark.parametrize("lengths", [(40,), (1, 7, 16, 3), (9, 20)])
def test_clips_of_a_packed_row_are_attended_to_alone(lengths):
  block, total = 8, 48
  q_LNH, k_LKH, v_LKH = (draw(total, n, SIZE) for n in (HEADS, GROUPS, GROUPS))
  ends = np.cumsum(lengths).tolist()
  clips = list(zip([0, *ends[:-1]], ends, strict=True))
  blocks = query_blocks(clips, block)
  tables = np.zeros((3, 12), np.int32)
  tables[:, : len(blocks)] = np.array(blocks).T
  run = jax.jit(attend_packed, static_argnames="block")
  out_LNH = run(q_LNH, k_LKH, v_LKH, *map(jnp.asarray, tables), jnp.int32(len(blocks)), block=block)
  for start, end in clips:
    for row in range(start, end):
      want = attend_plainly(q_LNH[row], k_LKH[start : row + 1], v_LKH[start : row + 1])
      np.testing.assert_allclose(out_LNH[row], want, atol=1e-5)


def test_the_place_in_a_row_changes_no_bit():
  block, length = 8, 21
  own = [draw(length, n, SIZE) for n in (HEADS, GROUPS, GROUPS)]
  found = []
  for start in (0, 13):
    row = [jnp.pad(x, ((start, 64 - start - length), (0, 0), (0, 0))) + 0 for x in own]
    clips = [(0, start), (start, start + length)] if start else [(0, length)]
    blocks = query_blocks(clips, block)
    tables = np.zeros((3, 12), np.int32)
    tables[:, : len(blocks)] = np.array(blocks).T
    run = jax.jit(attend_packed, static_argnames="block")
    out = run(*row, *map(jnp.asarray, tables), jnp.int32(len(blocks)), block=block)
    found.append(out[start : start + length])
  assert np.array_equal(*found)
