"""The program `window` of beam search: a slot holds a clip with all its hypotheses."""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from maxtext_ext import bridge
from maxtext_ext.decode import beam_search, head
from maxtext_ext.decode.beam_cache import BeamCache, continued, prompt_places
from maxtext_ext.decode.beam_search import Beams, SearchRules
from maxtext_ext.decode.cache import Layer
from maxtext_ext.decode.layers import SplitModel, Weights
from maxtext_ext.decode.shape import MeshDivision, Shape, round_places
from maxtext_ext.decode.state import FREE, Ready, State
from maxtext_ext.decode.window import Window

_TRAIN = bridge.MODEL_MODE_TRAIN
# Keys of the state and the fields of `Beams`.
_BEAMS = {
  "score": "score_BJ",
  "ended": "ended_BJ",
  "reason": "reason_B",
  "recent": "recent_BJP",
  "runs": "runs_BJP",
}


class WrittenBeams(NamedTuple):
  """Choices of the steps of a window: `beam_search.Chosen` [B, K, J + 1], then as `Written`."""

  token: Array
  log_prob: Array
  parent: Array
  ticket: Array
  end: Array


class BeamWindow(Window):
  """Extends the hypotheses of all slots, for some steps.

  Beside that of `Window` the state has, by slot: seen (`BeamCache`), and the fields of `Beams`;
  hidden, recent and runs are of each hypothesis. A step takes J places. Controls of the choice of
  tokens are not followed.

  Args:
    rules: of the search.
    platform: of the devices.
  """

  def __init__(
    self,
    model: SplitModel,
    division: MeshDivision,
    shape: Shape,
    rules: SearchRules,
    *,
    platform: str,
  ) -> None:
    super().__init__(
      model,
      division,
      shape,
      eos_ids=rules.eos_ids,
      vocab_size=rules.vocab_size,
      repeats=rules.repeats,
      platform=platform,
    )
    self._rules = rules
    self._width = rules.beams
    self._cache = BeamCache(division, shape, platform, width=rules.beams)
    longest = shape.row_tokens + rules.beams * model.config.max_new_tokens
    self._places = round_places(longest)  # of the largest pool

  def empty_state(self) -> State:
    """See Window."""
    config, beams = self._model.config, self._rules.beams
    slots = self._shape.lanes * self._shape.slots
    state = super().empty_state()
    state["hidden"] = jnp.zeros((slots, beams, config.emb_dim), config.dtype)
    state["seen"] = jnp.zeros((slots, beams, self._places), bool)
    return state | _to_state(beam_search.begin(slots, beams))

  def _new_slot(self, entry: State, drafted: State, ready: Ready) -> State:
    beams = self._rules.beams
    hypotheses = _to_state(beam_search.begin(1, beams))
    state = super()._new_slot(entry, drafted, ready)
    state["hidden"] = jnp.broadcast_to(state["hidden"], (beams, *state["hidden"].shape))
    state["seen"] = prompt_places(entry["length"], beams, self._places)
    return state | {key: value[0] for key, value in hypotheses.items()}

  def _nothing_written(self) -> Any:
    slots, steps = self._shape.lanes * self._shape.slots, self._shape.steps
    chosen = (slots, steps, self._rules.beams + 1)
    return WrittenBeams(
      token=jnp.zeros(chosen, jnp.int32),
      log_prob=jnp.zeros(chosen, jnp.float32),
      parent=jnp.zeros(chosen, jnp.int32),
      ticket=jnp.full((slots, steps), FREE, jnp.int32),
      end=jnp.zeros((slots, steps), jnp.int32),
    )

  def _step(
    self, model: Any, weights: Weights, layers: list[Layer], state: State, step: Array
  ) -> tuple[list[Layer], State, Any]:
    """Extends the hypotheses of every slot that has places for them."""
    assert sum(block.shape[2] for block in layers[0].keys) <= self._places
    live_B = self._is_live(state)
    slots, beams, _ = state["hidden"].shape
    logits_VX = head.logits(model, state["hidden"].reshape(slots * beams, -1))
    before = Beams(**{field: state[key] for key, field in _BEAMS.items()})
    count_B = state["written"] + 1
    after, chosen, ends_B = beam_search.search(
      self._rules, before, logits_VX, count_B, state["left"] <= 1
    )
    goes_on_B = live_B & ~ends_B
    parent_BJ, token_BJ = chosen.parent[:, :beams], chosen.token[:, :beams]
    seen_BJS = continued(state["seen"], parent_BJ, state["length"])
    position_B = state["length"] - (beams - 1) * state["written"]
    hidden_BJD, layers = self._model.run_layers(
      weights,
      model.decoder.embed_tokens(model.token_embedder, token_BJ, _TRAIN),
      jnp.repeat(position_B[:, None], beams, axis=1),
      layers,
      functools.partial(self._cache.attend, state | {"seen": seen_BJS}, step, goes_on_B),
    )
    new = {
      "length": state["length"] + beams,
      "left": state["left"] - 1,
      "written": count_B,
      "hidden": hidden_BJD,
      "seen": seen_BJS,
    }
    new = {
      key: jnp.where(goes_on_B.reshape(-1, *[1] * (value.ndim - 1)), value, state[key])
      for key, value in (new | _to_state(after)).items()
    }
    end_B = jnp.where(live_B & ends_B, after.reason_B, 0)
    new["ticket"] = jnp.where(end_B != 0, FREE, state["ticket"])
    written = WrittenBeams(*chosen, jnp.where(live_B, state["ticket"], FREE), end_B)
    return layers, state | new, written


def _to_state(beams: Beams) -> State:
  return {key: getattr(beams, field) for key, field in _BEAMS.items()}
