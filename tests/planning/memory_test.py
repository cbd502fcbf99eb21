from types import SimpleNamespace

import pytest

from maxtext_ext.planning import memory
from maxtext_ext.planning.memory import GIB

# The words of libtpu 0.0.50, of XLA before it, and of an error about something else.
REFUSED = (
  "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory"
  " required for HLO temporaries (32.55G) exceeds available HBM (30.75G). HLO module: jit_step."
)
REFUSED_BEFORE = (
  "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm."
  " Used 20.50G of 15.75G hbm. Exceeded hbm capacity by 4.75G."
)


@pytest.mark.parametrize(
  ("message", "needed", "available"),
  [
    (REFUSED, 32.55, 30.75),
    (REFUSED_BEFORE, 20.5, 15.75),
    (REFUSED.replace("32.55G", "2.00T"), 2048, 30.75),
  ],
)
def test_a_refusal_says_what_was_needed(message, needed, available):
  refusal = memory.of_refusal(message)
  assert refusal.used / GIB == pytest.approx(needed)
  assert refusal.available / GIB == pytest.approx(available)
  assert not refusal.fits


def test_what_is_refused_does_not_fit_even_where_both_numbers_are_equal():
  refusal = memory.of_refusal(REFUSED.replace("32.55G", "30.75G"))
  assert not refusal.fits
  assert refusal.used / GIB == pytest.approx(30.76)


def test_another_error_is_no_refusal():
  assert memory.of_refusal("INTERNAL: Mosaic failed to compile TPU kernel") is None


def test_what_outputs_take_over_in_place_counts_once():
  analysis = SimpleNamespace(
    argument_size_in_bytes=5 * GIB,
    output_size_in_bytes=4 * GIB,
    alias_size_in_bytes=3 * GIB,
    temp_size_in_bytes=7 * GIB,
  )
  found = memory.of_compiled(analysis, 30.0 * GIB)
  assert (found.arguments, found.temporaries) == (6 * GIB, 7 * GIB)
  assert found.free == 17 * GIB
  assert found.fits
