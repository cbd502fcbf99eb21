import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.planning.cost import BASE, MORE_DECODER, MORE_ENCODER, Cost, StepCost, whole_step

AMOUNT = st.floats(0, 1e15)
COST = st.builds(Cost, flops=AMOUNT, hbm_bytes=AMOUNT, sent_bytes=AMOUNT)


def near(cost: Cost, expected: Cost, scale: float) -> None:
  for name in ("flops", "hbm_bytes", "sent_bytes"):
    assert getattr(cost, name) == pytest.approx(getattr(expected, name), abs=1e-9 * scale)


@given(COST, COST, COST, st.integers(1, 100), st.integers(1, 100))
def test_layers_times_their_cost(decoder, encoder, rest, decoder_layers, encoder_layers):
  def step(layers: tuple[int, int]) -> Cost:
    return decoder * layers[0] + encoder * layers[1] + rest

  whole = whole_step(
    step(BASE),
    step(MORE_DECODER),
    step(MORE_ENCODER),
    decoder_layers=decoder_layers,
    encoder_layers=encoder_layers,
  )
  near(whole.decoder, decoder * decoder_layers, 1e17)
  near(whole.encoder, encoder * encoder_layers, 1e17)
  near(whole.rest, rest, 1e17)
  near(whole.total, step((decoder_layers, encoder_layers)), 1e17)
  near(whole.times(3).total, whole.total * 3, 1e18)


@given(*[COST] * 6, st.integers(2, 8), st.integers(0, 64))
def test_what_grows_with_the_rows_and_what_does_not(a, b, c, d, e, f, rows, more):
  def step(rows: int | float) -> StepCost:
    return StepCost(decoder=a + b * rows, encoder=c + d * rows, rest=e + f * rows)

  fewer = rows // 2
  extrapolated = step(rows).of_more_rows(step(fewer), more / (rows - fewer))
  for part, expected in zip(extrapolated.parts, step(rows + more).parts, strict=True):
    near(part, expected, 1e18)


def test_a_layer_never_costs_less_than_nothing():
  base = Cost(flops=10.0, hbm_bytes=10.0, sent_bytes=0.0)
  less = Cost(flops=9.0, hbm_bytes=12.0, sent_bytes=0.0)
  whole = whole_step(base, less, base, decoder_layers=28, encoder_layers=24)
  assert whole.decoder == Cost(flops=0.0, hbm_bytes=56.0, sent_bytes=0.0)
