from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.input.bin_packing import TailPacker


@given(tails=st.lists(st.integers(0, 7), max_size=30))
def test_bins_foretell_what_adding_opens(tails):
  bins = TailPacker.of(tails, 8)
  one, two = bins.windows_for_one(), bins.windows_for_two()
  for longer in range(8):
    for shorter in range(longer + 1):
      after = TailPacker.of(tails, 8)
      after.add(longer)
      assert after.windows - bins.windows == one[longer]
      after.add(shorter)
      assert after.windows - bins.windows == two[longer, shorter] == two[shorter, longer]


def test_tails_that_match_share_windows():
  bins = TailPacker.of([7, 1, 6, 2, 5, 3, 4, 4, 0], 8)
  assert bins.windows == 4
  assert bins.places[-1] == (-1, -1)
