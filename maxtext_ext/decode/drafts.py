"""Drafts: candidate texts, verified in the pass over the prompt.

The tokens of a draft follow the prompt in its row. What the decoder computes at each place predicts
the token at the next one, so one pass shows how many tokens of the draft greedy decoding would have
written. Only these are kept; the clip's slot goes on after them as if it had written them.
"""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from maxtext_ext.decode import head
from maxtext_ext.decode.state import State
from maxtext_ext.input.collate import Arrays
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.models.interface import Batch

# Places of a row whose logits are computed together, by platform.
_TOGETHER = {"cpu": 32}
_DEFAULT_TOGETHER = 128


def usable_part(
  draft: Sequence[int], *, most: int, eos_ids: Collection[int], vocab_size: int
) -> tuple[int, ...]:
  """Cuts a draft to what a text can begin with before it ends.

  Args:
    draft: tokens.
    most: tokens that the text may have; the last of them ends it, so a slot writes it.
    eos_ids: tokens that end a text.
    vocab_size: tokens that may be written.
  """
  for number, token in enumerate(draft[: most - 1]):
    if token in eos_ids or not 0 <= token < vocab_size:
      return tuple(draft[:number])
  return tuple(draft[: most - 1])


def with_draft(utterance: Utterance, draft: Sequence[int]) -> Utterance:
  """Returns the utterance with the draft at the end of its prompt."""
  if not draft:
    return utterance
  prompt = np.concatenate([utterance.prompt, np.asarray(draft, np.int32)])
  return dataclasses.replace(utterance, prompt=prompt)


def draft_arrays(
  rows: Sequence[Sequence[tuple[int, int]]], *, row_tokens: int, clips: int
) -> Arrays:
  """Makes the arrays of a packed row of each lane that say where its drafts are.

  Args:
    rows: prompt and draft tokens of each clip, in order.
    row_tokens: L.
    clips: G, most clips of a row.

  Returns:
    `last` [R, G], the place of each clip's last prompt token; `draft_places` [R, L], the places of
    all draft tokens in order, then L; and `draft_tokens` [R], how many there are.
  """
  arrays = {
    "last": np.zeros((len(rows), clips), np.int32),
    "draft_places": np.full((len(rows), row_tokens), row_tokens, np.int32),
    "draft_tokens": np.zeros(len(rows), np.int32),
  }
  for number, row in enumerate(rows):
    place = 0
    places: list[int] = []
    for clip, (prompt, draft) in enumerate(row):
      arrays["last"][number, clip] = place + prompt - 1
      places += range(place + prompt, place + prompt + draft)
      place += prompt + draft
    arrays["draft_places"][number, : len(places)] = places
    arrays["draft_tokens"][number] = len(places)
  return arrays


class Verified(NamedTuple):
  """Drafts of a packed row of every lane.

  Attributes:
    written: by clip, [R, G, ...]: `accepted` (tokens of the draft that are the text's), and the
      `recent` and `runs` of a slot after them.
    log_prob: of the draft token at each place, [R, L].
  """

  written: State
  log_prob: Float[Array, "R L"]


def nothing_written(lanes: int, clips: int) -> State:
  """Makes `Verified.written` of clips without drafts."""
  periods = (lanes, clips, head.LONGEST_PERIOD)
  return {
    "accepted": jnp.zeros((lanes, clips), jnp.int32),
    "recent": jnp.full(periods, -1, jnp.int32),
    "runs": jnp.zeros(periods, jnp.int32),
  }


def verify(
  model: Any,
  hidden_RLD: Float[Array, "R L D"],
  batch: Batch,
  *,
  vocab_size: int,
  repeats: int,
  platform: str,
) -> Verified:
  """Finds how much of each draft greedy decoding would have written.

  A draft is accepted up to the first token that is not the likeliest one, or with which the text
  would end in a loop.

  Args:
    model: without its layers, for its head.
    hidden_RLD: what predicts the token after each place.
    batch: as `draft_arrays` and `input.prompts.pack_prompts` make it.
    vocab_size: as `head.choose`.
    repeats: as `head.is_loop`.
    platform: of the devices.
  """
  inputs_RL, end = batch["inputs"], hidden_RLD.shape[1]
  row_R1 = jnp.arange(len(inputs_RL))[:, None]
  is_draft_RL = jnp.zeros(inputs_RL.shape, bool)
  is_draft_RL = is_draft_RL.at[row_R1, batch["draft_places"]].set(True, mode="drop")
  is_likeliest_RL, log_prob_RL = _compare(
    model, hidden_RLD, batch, vocab_size, _TOGETHER.get(platform, _DEFAULT_TOGETHER)
  )
  recent_RLP, runs_RLP = _repeats(inputs_RL, batch["inputs_segmentation"], is_draft_RL)
  is_loop_X = head.is_loop(runs_RLP.reshape(-1, head.LONGEST_PERIOD), repeats)
  is_good_RL = is_likeliest_RL & ~is_loop_X.reshape(inputs_RL.shape)
  # The first place from each on that ends a draft; the places of prompts do.
  stop_RL = lax.cummin(jnp.where(is_good_RL, end, jnp.arange(end)), axis=1, reverse=True)
  first_RG = batch["last"] + 1  # behind the row where a prompt ends it
  stop_RG = jnp.take_along_axis(stop_RL, jnp.minimum(first_RG, end - 1), axis=1)
  accepted_RG = jnp.maximum(stop_RG - first_RG, 0)
  last_RG1 = (batch["last"] + accepted_RG)[..., None]
  written = {
    "accepted": accepted_RG,
    "recent": jnp.take_along_axis(recent_RLP, last_RG1, axis=1),
    "runs": jnp.take_along_axis(runs_RLP, last_RG1, axis=1),
  }
  return Verified(written, log_prob_RL)


def _compare(
  model: Any, hidden_RLD: Array, batch: Batch, vocab_size: int, together: int
) -> tuple[Bool[Array, "R L"], Float[Array, "R L"]]:
  """Compares draft tokens with the likeliest ones, at `together` places of each row at a time.

  Returns:
    whether the token at each place is a draft's and the likeliest, and its log-probability.
  """
  rows, length, dim = hidden_RLD.shape
  assert length % together == 0, "tokens of a row are a multiple"
  row_R1 = jnp.arange(rows)[:, None]

  def compare_some(number: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
    equal_RL, log_prob_RL = found
    place_RX = lax.dynamic_slice_in_dim(batch["draft_places"], number * together, together, axis=1)
    before_RXD = jnp.take_along_axis(hidden_RLD, place_RX[..., None] - 1, axis=1)
    logits_VB = head.logits(model, before_RXD.reshape(-1, dim))
    token_RX, log_prob_RX = (x.reshape(place_RX.shape) for x in head.choose(logits_VB, vocab_size))
    draft_RX = jnp.take_along_axis(batch["inputs"], place_RX, axis=1, mode="clip")
    equal_RL = equal_RL.at[row_R1, place_RX].set(token_RX == draft_RX, mode="drop")
    return equal_RL, log_prob_RL.at[row_R1, place_RX].set(log_prob_RX, mode="drop")

  blocks = (jnp.max(batch["draft_tokens"]) + together - 1) // together
  nothing = jnp.zeros((rows, length), bool), jnp.zeros((rows, length), jnp.float32)
  return lax.fori_loop(0, blocks, compare_some, nothing)


def _repeats(
  inputs_RL: Int[Array, "R L"],
  segments_RL: Int[Array, "R L"],
  is_draft_RL: Bool[Array, "R L"],
) -> tuple[Int[Array, "R L P"], Int[Array, "R L P"]]:
  """Computes what `head.repeat_runs` does for texts that reach to each place.

  Returns:
    the last P tokens of the text, the newest first, and how long it has repeated itself with a
    period of 1, 2, ... P tokens.
  """
  place_L1 = jnp.arange(inputs_RL.shape[1])[:, None]
  from_LQ = place_L1 - jnp.arange(head.LONGEST_PERIOD + 1)
  index_LQ = jnp.maximum(from_LQ, 0)
  is_same_RLQ = segments_RL[:, index_LQ] == segments_RL[..., None]
  is_text_RLQ = is_draft_RL[:, index_LQ] & is_same_RLQ & (from_LQ >= 0)
  text_RLQ = jnp.where(is_text_RLQ, inputs_RL[:, index_LQ], -1)
  repeats_RLP = (text_RLQ[..., 1:] == inputs_RL[..., None]) & is_draft_RL[..., None]
  last_other_RLP = lax.cummax(jnp.where(repeats_RLP, -1, place_L1), axis=1)
  return text_RLQ[..., :-1], place_L1 - last_other_RLP
