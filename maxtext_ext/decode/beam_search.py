"""A step of beam search: the best continuations of a clip's hypotheses, and those that end.

The rules are those of transformers' `generate` with `early_stopping=False`: of all continuations
that are among the `J` best, those that end are kept by score / tokens**length_penalty, and the `J`
best others go on. The search ends when the best of these, at its present length, scores no more
than the worst of `J` ended ones, or at the limit of tokens, where all `J` best end.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from maxtext_ext.decode import head
from maxtext_ext.decode.state import LENGTH, LOOP, STOP

_CHUNK = 128  # tokens; of 64 to 512 the fastest on CPUs


@dataclass(frozen=True, kw_only=True)
class SearchRules:
  """Rules of beam search.

  Attributes:
    beams: J, hypotheses of a clip that are extended together.
    length_penalty: exponent of a hypothesis's tokens, by which its log-probability is divided.
    eos_ids: tokens that end a text.
    vocab_size: tokens that may be written.
    repeats: as `head.is_loop`; a hypothesis that repeats itself ends as at an eos.
  """

  beams: int
  length_penalty: float
  eos_ids: tuple[int, ...]
  vocab_size: int
  repeats: int


class Beams(NamedTuple):
  """Hypotheses of the clip of each slot.

  Attributes:
    score_BJ: log-probabilities of those that go on, the best first; -inf: there is none.
    ended_BJ: scores of the best ended ones, the best first; -inf: there is none.
    reason_B: STOP, LENGTH or LOOP of the best ended one; LENGTH: there is none.
    recent_BJP, runs_BJP: of those that go on, as `head.repeat_runs` has them.
  """

  score_BJ: Array
  ended_BJ: Array
  reason_B: Array
  recent_BJP: Array
  runs_BJP: Array


class Chosen(NamedTuple):
  """Choices of a step: the hypotheses that go on, and in the last place one that has ended.

  Attributes:
    token: [B, J + 1], last tokens; in the last place that of the ended one, if it is better than
      all before, else -1.
    log_prob: [B, J + 1], the logarithms of their probabilities.
    parent: [B, J + 1], which hypotheses of the step before they continue.
  """

  token: Array
  log_prob: Array
  parent: Array


def begin(slots: int, beams: int) -> Beams:
  """Makes the hypotheses of a clip before its first token: one without any, in every slot."""
  none_BJ = jnp.full((slots, beams), -jnp.inf, jnp.float32)
  return Beams(
    score_BJ=none_BJ.at[:, 0].set(0.0),
    ended_BJ=none_BJ,
    reason_B=jnp.full(slots, LENGTH, jnp.int32),
    recent_BJP=jnp.full((slots, beams, head.LONGEST_PERIOD), -1, jnp.int32),
    runs_BJP=jnp.zeros((slots, beams, head.LONGEST_PERIOD), jnp.int32),
  )


def search(
  rules: SearchRules,
  beams: Beams,
  logits_VX: Float[Array, "V X"],
  count_B: Int[Array, "B"],
  is_last_B: Bool[Array, "B"],
) -> tuple[Beams, Chosen, Bool[Array, "B"]]:
  """Extends all hypotheses by a token.

  Args:
    logits_VX: of the next token of every hypothesis, those of a slot together.
    count_B: tokens of a hypothesis with the next one.
    is_last_B: slots in which it is the last that a text may have.

  Returns:
    hypotheses, choices, and in which slots the search has ended.
  """
  slots, size = beams.score_BJ.shape
  token_BJC, log_prob_BJC = (x.reshape(slots, size, -1) for x in candidates(rules, logits_VX))
  score_BJC = beams.score_BJ[..., None] + log_prob_BJC
  repeated, recent = _repeat_runs(beams, token_BJC)
  end_BJC = jnp.where(head.is_loop(repeated, rules.repeats).reshape(token_BJC.shape), LOOP, 0)
  end_BJC = jnp.where(is_last_B[:, None, None], LENGTH, end_BJC)
  end_BJC = jnp.where(_is_eos(rules, token_BJC), STOP, end_BJC)
  end_BX, score_BX = end_BJC.reshape(slots, -1), score_BJC.reshape(slots, -1)

  going_BX = jnp.where(end_BX == 0, score_BX, -jnp.inf)
  next_BJ, next_index_BJ = lax.top_k(going_BX, size)
  best_BJ, best_index_BJ = lax.top_k(score_BX, size)
  best_end_BJ = jnp.take_along_axis(end_BX, best_index_BJ, axis=1)
  scale_B = count_B.astype(jnp.float32) ** rules.length_penalty
  new_BJ = jnp.where(best_end_BJ != 0, best_BJ / scale_B[:, None], -jnp.inf)
  ended_BJ = lax.top_k(jnp.concatenate([beams.ended_BJ, new_BJ], axis=1), size)[0]

  first_B1 = jnp.argmax(new_BJ, axis=1)[:, None]
  is_best_B1 = jnp.take_along_axis(new_BJ, first_B1, axis=1) > beams.ended_BJ[:, :1]
  index_BJ1 = jnp.concatenate(
    [next_index_BJ, jnp.take_along_axis(best_index_BJ, first_B1, axis=1)], axis=1
  )
  token_BJ1 = jnp.take_along_axis(token_BJC.reshape(slots, -1), index_BJ1, axis=1)
  there_BJ1 = jnp.concatenate([next_BJ > -jnp.inf, is_best_B1], axis=1)
  # A hypothesis that is not there is computed all the same, with any token.
  none_J1 = jnp.zeros(size + 1, jnp.int32).at[size].set(-1)
  chosen = Chosen(
    token=jnp.where(there_BJ1, token_BJ1, none_J1),
    log_prob=jnp.take_along_axis(log_prob_BJC.reshape(slots, -1), index_BJ1, axis=1),
    parent=index_BJ1 // token_BJC.shape[2],
  )
  reason_B1 = jnp.take_along_axis(best_end_BJ, first_B1, axis=1)
  after = Beams(
    score_BJ=next_BJ,
    ended_BJ=ended_BJ,
    reason_B=jnp.where(is_best_B1, reason_B1, beams.reason_B[:, None])[:, 0],
    recent_BJP=_of_chosen(recent, slots, next_index_BJ),
    runs_BJP=_of_chosen(repeated, slots, next_index_BJ),
  )
  may_improve_B = next_BJ[:, 0] / scale_B > ended_BJ[:, -1]
  return after, chosen, is_last_B | ~may_improve_B


def candidates(rules: SearchRules, logits_VX: Float[Array, "V X"]) -> tuple[Array, Array]:
  """Finds the continuations among which those of a step are: tokens and log-probabilities [X, C].

  These are each hypothesis's `J` likeliest tokens that end nothing, as all that go on may continue
  the same one, and all eos. One more where a token may complete a loop; it is the only one.
  """
  index_V1 = jnp.arange(logits_VX.shape[0], dtype=jnp.int32)[:, None]
  logits_VX = jnp.where(index_V1 < rules.vocab_size, logits_VX, -jnp.inf)
  top_X = jnp.max(logits_VX, axis=0)
  total_X = top_X + jnp.log(jnp.sum(jnp.exp(logits_VX - top_X), axis=0))
  eos_E = jnp.asarray(rules.eos_ids, jnp.int32)
  ends_EX = logits_VX[eos_E]
  others_VX = jnp.where(jnp.isin(index_V1, eos_E), -jnp.inf, logits_VX)
  count = min(rules.beams + (rules.repeats > 0), logits_VX.shape[0])
  likeliest_XC, token_XC = top_tokens(others_VX, count)
  eos_XE = jnp.broadcast_to(eos_E, ends_EX.T.shape)
  token_XC = jnp.concatenate([token_XC, eos_XE], axis=1)
  return token_XC, jnp.concatenate([likeliest_XC, ends_EX.T], axis=1) - total_X[:, None]


def top_tokens(logits_VX: Float[Array, "V X"], count: int) -> tuple[Array, Array]:
  """Finds the largest logits of each column: values and tokens [X, C], the largest first.

  They lie in the `count` chunks of the vocabulary with the largest maxima, so that little is
  sorted: 0.3 ms instead of 3 on two CPU cores, for 16 columns of 151,936 logits.
  """
  size, columns = logits_VX.shape
  chunks = -(-size // _CHUNK)
  padding = ((0, chunks * _CHUNK - size), (0, 0))
  padded_VX = jnp.pad(logits_VX, padding, constant_values=-jnp.inf)
  logits_NVX = padded_VX.reshape(chunks, _CHUNK, columns)
  _, chunk_XC = lax.top_k(jnp.max(logits_NVX, axis=1).T, min(count, chunks))
  members_XCV = logits_NVX[chunk_XC, :, jnp.arange(columns)[:, None]]
  value_XC, place_XC = lax.top_k(members_XCV.reshape(columns, -1), count)
  chunk_XC = jnp.take_along_axis(chunk_XC, place_XC // _CHUNK, axis=1)
  return value_XC, chunk_XC * _CHUNK + place_XC % _CHUNK


def _is_eos(rules: SearchRules, token: Array) -> Array:
  return jnp.isin(token, jnp.asarray(rules.eos_ids, jnp.int32))


def _repeat_runs(beams: Beams, token_BJC: Array) -> tuple[Array, Array]:
  """Counts repetitions of every candidate, [B J C, P], as `head.repeat_runs`."""
  count = token_BJC.shape[2]
  runs_XP, recent_XP = (
    jnp.repeat(x_BJP.reshape(-1, x_BJP.shape[2]), count, axis=0)
    for x_BJP in (beams.runs_BJP, beams.recent_BJP)
  )
  return head.repeat_runs(runs_XP, recent_XP, token_BJC.reshape(-1))


def _of_chosen(x_XP: Array, slots: int, index_BJ: Array) -> Array:
  x_BXP = x_XP.reshape(slots, -1, x_XP.shape[1])
  return jnp.take_along_axis(x_BXP, index_BJ[..., None], axis=1)
