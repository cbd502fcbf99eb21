import kaldialign
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.evaluate import bootstrap
from maxtext_ext.evaluate.bootstrap import bootstrap_interval, tail

COUNTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=20)


def corpus(utterances: int = 300) -> tuple[np.ndarray, np.ndarray]:
  rng = np.random.default_rng(5)
  units_U = rng.integers(1, 25, utterances)
  return rng.binomial(units_U, rng.beta(1, 6, utterances)), units_U


def test_equals_plain_resampling():
  edits_U, units_U = corpus()
  rng = np.random.default_rng(1)
  index_RU = rng.integers(0, len(edits_U), (20_000, len(edits_U)))
  rates = edits_U[index_RU].sum(axis=1) / units_U[index_RU].sum(axis=1)
  expected = np.quantile(rates, [0.025, 0.975])
  found = bootstrap_interval(edits_U, units_U, replicates=20_000)
  np.testing.assert_allclose(found, expected, rtol=0.01)


@pytest.mark.parametrize(("blocks", "runs"), [(20, 1500), (60, 1500)])
def test_the_interval_of_blocks_covers_the_rate_in_95_of_100_corpora(blocks, runs):
  """Speakers differ, and each says several clips whose errors go together."""
  rng = np.random.default_rng(7)

  def draw(speakers: int) -> tuple[np.ndarray, np.ndarray]:
    units_BC = rng.integers(3, 30, (speakers, 10))
    rates_B1 = rng.beta(3, 25, (speakers, 1))
    return rng.binomial(units_BC, rates_B1).sum(axis=1), units_BC.sum(axis=1)

  edits_B, units_B = draw(500_000)
  truth = edits_B.sum() / units_B.sum()
  covered = 0
  for _ in range(runs):
    lower, upper = bootstrap_interval(*draw(blocks), replicates=400)
    covered += lower <= truth <= upper
  assert 0.93 <= covered / runs <= 0.97


def test_tails_approach_those_of_the_normal_distribution():
  assert tail(2) < tail(20) < tail(1000) < 0.025
  assert tail(20) == pytest.approx(0.0159, abs=1e-4)
  assert tail(100_000) == pytest.approx(0.025, abs=1e-5)


def test_agrees_with_kaldi():
  edits_U, units_U = corpus()
  references = [["x"] * units for units in units_U]
  hypotheses = [["y"] * e + ["x"] * (u - e) for e, u in zip(edits_U, units_U, strict=True)]
  theirs = kaldialign.bootstrap_wer_ci(references, hypotheses)
  lower, upper = bootstrap_interval(edits_U, units_U, replicates=10_000)
  # Theirs is mean +- 1.96 standard deviations, ours percentiles: alike for a corpus this large.
  assert lower == pytest.approx(theirs["ci95min"], rel=0.03)
  assert upper == pytest.approx(theirs["ci95max"], rel=0.03)


@given(counts=COUNTS, seed=st.integers(0, 100), order=st.randoms())
def test_order_does_not_matter(counts, seed, order):
  shuffled = order.sample(counts, len(counts))
  results = [bootstrap_interval(*np.array(c).T, seed=seed) for c in (counts, shuffled)]
  assert results[0] == results[1]


def test_block_size_does_not_matter(monkeypatch):
  expected = bootstrap_interval(*corpus())
  monkeypatch.setattr(bootstrap, "_BLOCK", 1000)
  assert bootstrap_interval(*corpus()) == expected


def test_seed_matters_and_repeats():
  assert bootstrap_interval(*corpus(), seed=1) == bootstrap_interval(*corpus(), seed=1)
  assert bootstrap_interval(*corpus(), seed=1) != bootstrap_interval(*corpus(), seed=2)


def test_more_utterances_narrow_it():
  edits_U, units_U = corpus()
  once = bootstrap_interval(edits_U, units_U)
  often = bootstrap_interval(np.tile(edits_U, 16), np.tile(units_U, 16))
  assert often[1] - often[0] == pytest.approx((once[1] - once[0]) / 4, rel=0.15)


@pytest.mark.parametrize(
  ("edits", "units", "expected"),
  [
    ([], [], None),
    ([1], [2], None),
    ([1, 2], [0, 0], None),
    ([0, 0], [3, 4], (0.0, 0.0)),
    ([1, 2], [2, 4], (0.5, 0.5)),
  ],
)
def test_edges(edits, units, expected):
  assert bootstrap_interval(np.array(edits, int), np.array(units, int)) == expected


def test_replicates_of_empty_references_alone_are_left_out():
  lower, upper = bootstrap_interval(np.array([1, 1]), np.array([0, 4]))
  assert (lower, upper) == (0.25, 0.5)
