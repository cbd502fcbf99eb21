"""Choice of tokens under controls: drawn at a temperature, or with a repetition penalty.

A slot draws with a key of its own, which is made of the clip's seed and of the number of the token
in its text. So a text does not depend on the slot, the other clips or the devices. Keys are those
of Threefry: with JAX's faster generators a number depends on its place in the batch.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt32

from maxtext_ext.decode import head
from maxtext_ext.decode.state import State

_TOGETHER = 8  # slots whose tokens are drawn at once


def choose_controlled(
  logits_VB: Float[Array, "V B"],
  likeliest: tuple[Int[Array, "B"], Float[Array, "B"]],
  state: State,
  live_B: Bool[Array, "B"],
  vocab_size: int,
) -> tuple[Int[Array, "B"], Float[Array, "B"]]:
  """Replaces the tokens of slots that have controls; a step without any does no work for it.

  Args:
    likeliest: tokens as `head.choose` takes them, with their log-probabilities.
    state: of the slots, see `state.Pool`.
    live_B: slots that write a token.
    vocab_size: tokens that may be written.

  Returns:
    tokens, and their log-probabilities by the model itself, at temperature 1 and without penalty,
    as vLLM reports them ("raw_logprobs"), so that they mean the same with any controls.
  """
  controlled_B = live_B & ((state["temperature"] > 0) | (state["penalty"] != 1))

  def choose_of_slot(slot: Array) -> Array:
    names = ("history", "written", "penalty", "temperature", "seed")
    history_W, written, penalty, temperature, seed = (state[name][slot] for name in names)
    scores_V = penalise(logits_VB[:, slot].astype(jnp.float32), history_W, written, penalty)
    scores_V = _draw(scores_V, temperature, seed, written)
    return head.choose(scores_V[:, None], vocab_size)[0][0]

  def choose() -> tuple[Array, Array]:
    slots = jnp.arange(logits_VB.shape[1])
    # Noise for all slots at once would take several times the memory of the logits.
    chosen_B = lax.map(choose_of_slot, slots, batch_size=_TOGETHER)
    best_B, log_prob_B = likeliest
    token_B = jnp.where(controlled_B, chosen_B, best_B)
    new_B, old_B = (_pick(logits_VB, token) for token in (token_B, best_B))
    return token_B, log_prob_B + (new_B - old_B).astype(log_prob_B.dtype)

  return lax.cond(jnp.any(controlled_B), choose, lambda: likeliest)


def penalise(
  scores_V: Float[Array, "V"],
  history_W: Int[Array, "W"],
  written: Int[Array, ""],
  penalty: Float[Array, ""],
) -> Float[Array, "V"]:
  """Divides the positive logits of tokens in the text by the penalty, and multiplies the others.

  The text are the first `written` tokens of the history; the prompt does not count, so neither
  words of the context nor the token that ends a text become less likely. Source: CTRL (Keskar et
  al. 2019), as transformers does with `prompt_ignore_length`.
  """
  is_text_W = jnp.arange(history_W.shape[0]) < written
  index_W = jnp.where(is_text_W, history_W, scores_V.shape[0])  # beyond the end: left out
  old_W = scores_V.at[index_W].get(mode="fill", fill_value=0.0)
  new_W = jnp.where(old_W < 0, old_W * penalty, old_W / penalty)
  return scores_V.at[index_W].set(new_W, mode="drop")


def noise(seed: UInt32[Array, "2"], number: Int[Array, ""], size: int) -> Float[Array, "V"]:
  """Makes Gumbel noise: with it added to logits, the largest is a draw from their softmax.

  Args:
    seed: of the clip.
    number: of the token in its text.
    size: V.

  In 32 random bits: with 23 the noise ends at 16, and the many tokens of a large vocabulary that
  are far less likely than the best would never be drawn.
  """
  key = jax.random.fold_in(jax.random.wrap_key_data(seed, impl="threefry2x32"), number)
  return jax.random.gumbel(key, (size,), mode="high")


def _draw(
  scores_V: Float[Array, "V"],
  temperature: Float[Array, ""],
  seed: UInt32[Array, "2"],
  number: Int[Array, ""],
) -> Float[Array, "V"]:
  """Divides scores by the temperature and adds noise; at temperature 0 leaves them."""
  noise_V = noise(seed, number, scores_V.shape[0])
  return jnp.where(temperature > 0, scores_V / temperature + noise_V, scores_V)


def _pick(logits_VB: Float[Array, "V B"], token_B: Int[Array, "B"]) -> Float[Array, "B"]:
  return jnp.take_along_axis(logits_VB, token_B[None], axis=0)[0]
