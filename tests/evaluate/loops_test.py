import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.evaluate.loops import REPEATS, has_loop


@pytest.mark.parametrize(
  ("text", "loop"),
  [
    ("", False),
    ("no no no no", False),
    ("no no no no no", True),
    ("well " + "thank you " * 4, False),
    ("well " + "thank you " * 5 + "bye", True),
    ("thank you " * 4 + "thank", False),
    ("a b a b x a b a b x", False),
    ("1 2 3 " * 5, True),
    (" ".join(str(n) for n in range(50)) * 1, False),
    ((" ".join(str(n) for n in range(50)) + " ") * 5, True),
  ],
)
def test_five_times_in_a_row(text, loop):
  assert has_loop(text.split()) == loop


UNITS = st.lists(st.sampled_from("ab"), max_size=16)


@given(units=UNITS)
def test_equals_its_definition(units):
  expected = any(
    units[start : start + REPEATS * period] == units[start : start + period] * REPEATS
    for period in range(1, len(units) // REPEATS + 1)
    for start in range(len(units) - REPEATS * period + 1)
  )
  assert has_loop(units) == expected


@given(before=UNITS, pattern=st.lists(st.sampled_from("abc"), min_size=1, max_size=4), after=UNITS)
def test_a_loop_is_found_anywhere(before, pattern, after):
  assert has_loop([*before, *pattern * REPEATS, *after])
