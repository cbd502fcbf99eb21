import random

import kaldialign
import numpy as np
import pytest

from maxtext_ext.evaluate.compare import Comparison, compare
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.wer import Method, Scores, score

WORDS = ("up", "down", "left", "right", "on", "off", "yes", "no")


def system(share: float, seed: int, *, clips: int = 200, dataset: str = "x") -> list[Hypothesis]:
  """Transcripts of the same clips with a share of the words wrong; ten clips of each speaker."""
  said, errors = random.Random(0), random.Random(seed)
  hypotheses = []
  for number in range(clips):
    words = said.choices(WORDS, k=said.randint(3, 12))
    heard = [word if errors.random() > share else errors.choice(WORDS) for word in words]
    hypotheses.append(
      Hypothesis(
        id=str(number),
        dataset=dataset,
        reference=" ".join(words),
        hypothesis=" ".join(heard),
        extra={"speaker": f"s{number // 10}"},
      )
    )
  return hypotheses


def scored(hypotheses: list[Hypothesis], **method: object) -> tuple[list[Hypothesis], Scores]:
  return hypotheses, score(hypotheses, method=Method(**method))


def compared(first: list[Hypothesis], second: list[Hypothesis], **method: object) -> Comparison:
  return compare(scored(first, **method), scored(second, **method), "other")


def test_a_clear_difference_is_found_and_said():
  result = compared(system(0.05, 1), system(0.2, 2))
  overall = result.overall
  assert overall.distinguished
  assert overall.difference < 0 and overall.interval[1] < 0
  assert overall.improvement == 1.0
  assert str(overall).startswith("The first system has fewer word errors than the second: ")
  assert (overall.utterances, overall.blocks, result.left_out) == (200, 20, 0)
  swapped = compared(system(0.2, 2), system(0.05, 1)).overall
  assert str(swapped).startswith("The second system has fewer word errors than the first: ")
  assert swapped.difference == -overall.difference
  assert swapped.improvement == 0.0


def test_systems_alike_cannot_be_distinguished():
  overall = compared(system(0.1, 1), system(0.1, 2)).overall
  assert not overall.distinguished
  assert overall.interval[0] < 0 < overall.interval[1]
  said = str(overall)
  assert said.startswith("The two systems cannot be distinguished: ")
  half = 50 * (overall.interval[1] - overall.interval[0])
  assert f"Only a difference of about {half:.2f} points or more would show" in said
  same = compared(system(0.1, 1), system(0.1, 1)).overall
  assert (same.difference, same.interval, same.improvement) == (0.0, (0.0, 0.0), 0.5)
  assert not same.distinguished
  assert str(same).startswith("The two systems make equally many word errors (")


def test_improvement_agrees_with_kaldi():
  first, second = system(0.1, 3), system(0.12, 4)
  theirs = kaldialign.bootstrap_wer_ci(
    [item.reference.split() for item in first],
    [item.hypothesis.split() for item in second],
    [item.hypothesis.split() for item in first],
  )
  ours = compared(first, second, block="clip", replicates=10_000).overall
  assert 0.6 < ours.improvement < 0.999
  assert ours.improvement == pytest.approx(theirs["p_s2_improv_over_s1"], abs=0.02)


def test_the_interval_is_that_of_plain_resampling_of_blocks():
  first, second = scored(system(0.1, 3)), scored(system(0.14, 4))
  edits = first[1].word_edits_U - second[1].word_edits_U
  units = first[1].words_U4[:, :3].sum(axis=1)
  by_block = [values.reshape(20, 10).sum(axis=1) for values in (edits, units)]
  rng = np.random.default_rng(1)
  index_RB = rng.integers(0, 20, (20_000, 20))
  rates = by_block[0][index_RB].sum(axis=1) / by_block[1][index_RB].sum(axis=1)
  expected = np.quantile(rates, [0.0159, 1 - 0.0159])  # the tails of 20 blocks
  found = compared(first[0], second[0], replicates=20_000).overall.interval
  np.testing.assert_allclose(found, expected, rtol=0.05)


def test_p_values_of_datasets_are_corrected_for_their_number():
  names = ("a", "b", "c")
  first = [item for name in names for item in system(0.10, 1, clips=60, dataset=name)]
  second = [
    item for n, name in enumerate(names) for item in system(0.15, n, clips=60, dataset=name)
  ]
  result = compared(first, second)
  assert list(result.by_dataset) == list(names)
  smallest = min(result.by_dataset.values(), key=lambda item: item.test.p)
  assert smallest.p == min(1.0, 3 * smallest.test.p)
  assert result.overall.p == result.overall.test.p


def test_only_common_utterances_count():
  first, second = system(0.1, 1), system(0.1, 2)
  result = compared(first[:150], second[100:])
  assert (result.overall.utterances, result.left_out) == (50, 150)
  with pytest.raises(ValueError, match="other: no utterance in common"):
    compared(first, system(0.1, 2, dataset="y"))
  changed = [Hypothesis(id="0", dataset="x", reference="other words", hypothesis="")]
  with pytest.raises(ValueError, match="other: '0' has another reference than in the first"):
    compared(first, changed)


def test_a_system_without_datasets_is_compared_by_ids():
  nameless = system(0.1, 2, dataset="")
  assert compared(system(0.1, 1), nameless).overall.utterances == 200
  assert list(compared(system(0.1, 1), nameless).by_dataset) == ["x"]
  twice = system(0.1, 1, dataset="x") + system(0.1, 1, dataset="y")
  with pytest.raises(ValueError, match="no utterance in common"):
    compared(twice, nameless)


def test_one_block_says_nothing():
  result = compared(system(0.1, 1)[:1], system(0.1, 2)[:1])
  assert result.overall.interval is None
  assert str(result.overall).startswith("The two systems cannot be compared on 1 clip ")
  assert not result.overall.distinguished
  figures = result.figures()
  assert figures["all"]["interval"] is None
  silence = [Hypothesis(id=str(i), reference="", hypothesis="") for i in range(3)]
  assert compared(silence, silence).figures()["all"]["wer"] == [None, None]
