"""Rules: one view serves both ways, and a table that does not fit is told whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.checkpoint.keymap import (
  KeyTableError,
  Rule,
  check_names,
  our_shapes,
  places_by_name,
)

AXES = ("layer", "expert", "part", "head", "size", "into", "out")
QUERY = Rule(
  hf="m.layers.{layer}.q.weight",
  ours="decoder/layers/query/kernel",
  layout="(head size) into -> into layer head size",
)
GATE, UP = (
  Rule(
    hf="m.layers.{layer}.experts.gate_up",
    ours=f"decoder/layers/moe/wi_{part}",
    layout="expert (part out) into -> expert layer into out",
    at={"part": part},
  )
  for part in (0, 1)
)
DOWN = Rule(
  hf="m.layers.{layer}.experts.{expert}.down.weight",
  ours="decoder/layers/moe/wo",
  layout="into out -> expert layer out into",
)
RULES = [QUERY, GATE, UP, DOWN, Rule(hf="m.norm", ours="decoder/norm", layout="into -> into")]
sizes_strategy = st.fixed_dictionaries(
  {axis: st.just(2) if axis == "part" else st.integers(1, 4) for axis in AXES}
)


def random_model(rules, sizes, seed=0):
  rng = np.random.default_rng(seed)
  shapes = {p.hf: p.rule.hf_shape(sizes) for rule in rules for p in rule.places(sizes)}
  return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def to_ours(rules, sizes, model, pieces=1):
  ours = {path: np.full(shape, np.nan) for path, shape in our_shapes(rules, sizes).items()}
  for name, places in places_by_name(rules, sizes).items():
    for place in places:
      unit = place.rule.unit(sizes)
      count = len(model[name]) // unit
      for units in np.array_split(np.arange(count), min(pieces, count)):
        rows = slice(units[0] * unit, (units[-1] + 1) * unit)
        slot = place.slot(slice(units[0], units[-1] + 1))
        ours[place.path][slot] = place.rule.view(model[name][rows], sizes)
  return ours


def to_hf(rules, sizes, ours):
  model = {}
  for name, places in places_by_name(rules, sizes).items():
    model[name] = np.full(places[0].rule.hf_shape(sizes), np.nan)
    for place in places:
      place.rule.view(model[name], sizes)[...] = ours[place.path][place.slot()]
  return model


@pytest.mark.parametrize("scanned", [True, False], ids=["scanned", "unscanned"])
@given(sizes=sizes_strategy, pieces=st.integers(1, 3))
def test_there_and_back_is_the_same(scanned, sizes, pieces):
  rules = RULES if scanned else [rule.unscanned() for rule in RULES]
  model = random_model(rules, sizes)
  ours = to_ours(rules, sizes, model, pieces)
  assert not any(np.isnan(value).any() for value in ours.values()), "every slot is written"
  back = to_hf(rules, sizes, ours)
  assert back.keys() == model.keys()
  for name, value in model.items():
    np.testing.assert_array_equal(back[name], value)


def test_numbers_lie_where_the_layout_says():
  sizes = {"layer": 3, "expert": 2, "part": 2, "head": 2, "size": 3, "into": 5, "out": 4}
  model = random_model(RULES, sizes)
  ours = to_ours(RULES, sizes, model)
  query = ours["decoder/layers/query/kernel"]
  assert query.shape == (5, 3, 2, 3)
  assert query[4, 1, 1, 2] == model["m.layers.1.q.weight"][1 * 3 + 2, 4]
  fused = model["m.layers.2.experts.gate_up"]
  assert ours["decoder/layers/moe/wi_0"][1, 2, 4, 3] == fused[1, 3, 4]
  assert ours["decoder/layers/moe/wi_1"][1, 2, 4, 3] == fused[1, 4 + 3, 4]
  down = model["m.layers.2.experts.1.down.weight"]
  assert ours["decoder/layers/moe/wo"][1, 2, 3, 4] == down[4, 3]


def test_unscanned_layers_have_names_of_their_own():
  rule = QUERY.unscanned()
  assert rule.ours == "decoder/layers_{layer}/query/kernel"
  assert rule.our_axes == ("into", "head", "size")
  assert RULES[-1].unscanned() is RULES[-1], "not stacked"


def test_names_are_matched_whole():
  assert DOWN.match("m.layers.11.experts.3.down.weight") == {"layer": 11, "expert": 3}
  assert DOWN.match("m.layers.11.experts.3.down.weight2") is None
  assert DOWN.match("m-layers.11.experts.3.down.weight") is None


def test_numbers_over_a_root_come_back_as_they_were():
  rule = Rule(hf="q", ours="q", layout="size into -> into size", over_root="size")
  assert QUERY.factor({"size": 64}) == 1
  assert [rule.factor({"size": size}) for size in (1, 4, 64, 256)] == [1, 0.5, 0.125, 0.0625]
  with pytest.raises(AssertionError, match="no power of two"):
    rule.factor({"size": 80})


WRONG_RULES = {
  "an axis is lost": {"hf": "w", "ours": "w", "layout": "a b -> a"},
  "an axis from nowhere": {"hf": "w", "ours": "w", "layout": "a -> a b"},
  "an index without a place": {"hf": "w.{i}", "ours": "w", "layout": "a -> a"},
  "an index from nowhere": {"hf": "w", "ours": "w/{i}", "layout": "a -> a"},
  "an axis twice": {"hf": "w", "ours": "w", "layout": "a a -> a a"},
}


@pytest.mark.parametrize("case", WRONG_RULES)
def test_a_wrong_rule_is_refused(case):
  with pytest.raises(AssertionError):
    Rule(**WRONG_RULES[case])


def test_every_difference_is_listed():
  expected = {"a": (1, 2), "b": (3,), "c": (4,), "d": (5,)}
  found = {"a": (1, 2), "b": (4,), "x": (7,), "y": (8, 8)}
  with pytest.raises(KeyTableError) as caught:
    check_names(expected, found, "somewhere")
  text = str(caught.value)
  for line in ("unknown: x [7]", "unknown: y [8, 8]", "missing: c [4]", "missing: d [5]"):
    assert line in text
  assert "shape of b: got [4], expected [3]" in text
  assert "a [" not in text
  check_names(expected, expected, "somewhere")
