"""Arrays that stay on the devices between programs: slots with their KV cache, and ready clips."""

from typing import NamedTuple

import jax

FREE = -1  # ticket of an empty slot
STOP, LENGTH, LOOP = 1, 2, 3  # why a text ended; 0: it goes on

State = dict[str, jax.Array]


class Pool(NamedTuple):
  """Slots.

  Attributes:
    keys, values: of every layer, blocks [B, K, S, H] of places.
    state: by slot: ticket of its clip or FREE, length (places used), limit (places that it may
      use), left (tokens that it may still write), hidden (what predicts its next token), recent and
      runs (`head.repeat_runs`), temperature, penalty and seed (uint32 [B, 2]) of `Controls`,
      history (tokens of its text) and written (their number).
  """

  keys: list[list[jax.Array]]
  values: list[list[jax.Array]]
  state: State

  @property
  def places(self) -> int:
    """Places of a slot."""
    return sum(block.shape[2] for block in self.keys[0])


class Ready(NamedTuple):
  """Prefilled clips of all lanes.

  Attributes:
    keys, values: of every layer, [R, K, (Q + 1) L, H]; the last row is for lanes without a prompt.
    hidden: what predicts the next token of each clip, [R, (Q + 1) G, D].
    written: what its draft has written of it, as `drafts.Verified`, [R, (Q + 1) G, ...].
  """

  keys: list[jax.Array]
  values: list[jax.Array]
  hidden: jax.Array
  written: State


class Written(NamedTuple):
  """Tokens of a window, [B, K]; `ticket` is FREE where a slot wrote none."""

  token: jax.Array
  log_prob: jax.Array
  ticket: jax.Array
  end: jax.Array  # STOP, LENGTH, LOOP, or 0
