"""Choice of the next token: the likeliest one, with its log-probability, and the end of a text."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from maxtext_ext import bridge

LONGEST_PERIOD = 16  # tokens of a repeated phrase


def logits(model: Any, hidden_BD: Float[Array, "B D"]) -> Float[Array, "V B"]:
  """Computes float32 logits, the vocabulary first, as its table lies in memory.

  With the table as the first factor the product takes 20 ms instead of 28 on two CPU cores, for 16
  slots and 151,936 entries.
  """
  config = model.config
  plain = not (config.normalize_embedding_logits or config.final_logits_soft_cap)
  if not (config.logits_via_embedding and plain):
    return model.head(hidden_BD[:, None], model_mode=bridge.MODEL_MODE_TRAIN)[:, 0].T
  dtype = jnp.float32 if config.logits_dot_in_fp32 else config.dtype
  normed_BD = model.decoder.decoder_norm(hidden_BD[:, None])[:, 0].astype(dtype)
  table_VD = model.token_embedder.embedding[...].astype(dtype)
  return jnp.einsum("VD,BD->VB", table_VD, normed_BD, preferred_element_type=jnp.float32)


def choose(
  logits_VB: Float[Array, "V B"], vocab_size: int
) -> tuple[Int[Array, "B"], Float[Array, "B"]]:
  """Chooses the likeliest of the first `vocab_size` tokens, the lowest among equals.

  The maximum, then the least index that has it: `argmax` carries pairs, which a CPU does not
  vectorise (5.4 ms instead of 0.7).

  Returns:
    tokens, and the natural logarithms of their probabilities.
  """
  index_V1 = jnp.arange(logits_VB.shape[0], dtype=jnp.int32)[:, None]
  logits_VB = jnp.where(index_V1 < vocab_size, logits_VB, -jnp.inf)
  best_B = jnp.max(logits_VB, axis=0)
  token_B = jnp.min(jnp.where(logits_VB == best_B, index_V1, vocab_size - 1), axis=0)
  return token_B, -jnp.log(jnp.sum(jnp.exp(logits_VB - best_B), axis=0))


def repeat_runs(
  runs_BP: Int[Array, "B P"], recent_BP: Int[Array, "B P"], token_B: Int[Array, "B"]
) -> tuple[Int[Array, "B P"], Int[Array, "B P"]]:
  """Counts how long each text has repeated itself with a period of 1, 2, ... P tokens.

  Args:
    runs_BP: tokens in a row that equal the one 1, 2, ... P before them.
    recent_BP: the last P tokens, the newest first; -1: there was none.
    token_B: the next one.

  Returns:
    both with the next token.
  """
  runs_BP = jnp.where(recent_BP == token_B[:, None], runs_BP + 1, 0)
  return runs_BP, jnp.concatenate([token_B[:, None], recent_BP[:, :-1]], axis=1)


def is_loop(runs_BP: Int[Array, "B P"], repeats: int) -> Bool[Array, "B"]:
  """Returns whether the last 1 to P tokens were written `repeats` times in a row; 0: never."""
  if not repeats:
    return jnp.zeros(runs_BP.shape[0], bool)
  period_P = jnp.arange(1, runs_BP.shape[1] + 1)
  return jnp.any(runs_BP >= period_P * (repeats - 1), axis=1)
