"""The cost of a step, put together from small ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.planning.compiler import Compiled, Compiler, Shape
from maxtext_ext.planning.cost import Cost
from maxtext_ext.planning.memory import Memory
from maxtext_ext.planning.plan import step_cost
from maxtext_ext.planning.topology import parse_topology

DECODER_LAYERS, ENCODER_LAYERS, ACCUMULATION = 28, 18, 3


def amount(rows: float, decoder: int, encoder: int) -> float:
  """Cost of a step: of every layer and of the rest, some with every row and some without."""
  return decoder * (7 + 5 * rows) + encoder * (2 + 3 * rows) + 11 + 13 * rows


class FakeCompiler(Compiler):
  """Knows what steps cost, and compiles those of a few rows only; no process is started."""

  def __init__(self, most_rows: float) -> None:
    self.target = parse_topology("v4-32")
    self.most_rows = most_rows
    self.counted = []

  def compile(
    self, path: str, overrides: list[str], *, with_cost: bool = False, effort: str = "O0"
  ) -> Compiled:
    assert with_cost
    keys = dict(key.split("=") for key in overrides)
    rows = float(keys["per_device_batch_size"])
    layers = int(keys["base_num_decoder_layers"]), int(keys["encoder_layers_for_audio"])
    self.counted.append((rows, *layers))
    memory = Memory(arguments=0.0, temporaries=rows, available=float(self.most_rows))
    cost = amount(rows, *layers)
    made = Cost(flops=cost, hbm_bytes=2 * cost, sent_bytes=3 * cost)
    return Compiled(memory=memory, cost=made if memory.fits else None, seconds=1.0)


def shape_of(rows: float) -> Shape:
  return Shape(
    model="m",
    rows=int(16 * rows * ACCUMULATION),
    micro_rows_per_chip=rows,
    accumulation=ACCUMULATION,
    tokens_per_row=2048,
    windows_per_row=15,
    remat="full",
    vocab_tiles=4,
    decoder_layers=DECODER_LAYERS,
    encoder_layers=ENCODER_LAYERS,
    encoder_overrides=[["encoder_layers_for_audio=1"], ["encoder_layers_for_audio=2"]],
    window_seconds=8.0,
    model_flops=1.0,
    sharding={"fsdp": 16},
  )


@given(st.one_of(st.integers(1, 64).map(float), st.sampled_from([0.25, 0.5])), st.integers(2, 16))
def test_it_is_that_of_the_whole_step(rows, most_rows):
  compiler = FakeCompiler(most_rows)
  cost, seconds = step_cost(compiler, "c.yml", [], shape_of(rows))
  expected = ACCUMULATION * amount(rows, DECODER_LAYERS, ENCODER_LAYERS)
  assert cost.total.flops == pytest.approx(expected)
  assert cost.total.hbm_bytes == pytest.approx(2 * expected)
  assert cost.total.sent_bytes == pytest.approx(3 * expected)
  assert seconds == len(compiler.counted) == len(set(compiler.counted)), "nothing twice"


def test_a_step_of_few_rows_is_counted_as_it_is():
  compiler = FakeCompiler(most_rows=8)
  step_cost(compiler, "c.yml", [], shape_of(4.0))
  assert compiler.counted == [(4, 1, 1), (4, 2, 1), (4, 1, 2)]


def test_where_one_row_fits_at_most_all_of_it_counts_with_every_row():
  cost, _ = step_cost(FakeCompiler(most_rows=1), "c.yml", [], shape_of(4.0))
  one = amount(1, DECODER_LAYERS, ENCODER_LAYERS)
  assert cost.total.flops == pytest.approx(4 * ACCUMULATION * one)


def test_where_no_row_fits_it_says_so():
  with pytest.raises(ValueError, match="does not fit a chip of v4-32 even with one row"):
    step_cost(FakeCompiler(most_rows=0), "c.yml", [], shape_of(4.0))
