import pytest

from maxtext_ext.evaluate.groups import UNSPECIFIED, bucket, group, label
from maxtext_ext.evaluate.hypothesis import Hypothesis


def make(*fields: dict[str, object]) -> list[Hypothesis]:
  texts = {"reference": "a", "hypothesis": "a"}
  return [Hypothesis(id=str(i), **texts | own) for i, own in enumerate(fields)]


def names(hypotheses: list[Hypothesis], field: str) -> dict[str, list[int]]:
  return {name: indices.tolist() for name, indices in group(hypotheses, field).items()}


def test_own_and_extra_fields_group_in_the_order_of_names():
  hypotheses = make(
    {"dataset": "y", "extra": {"noise": "street"}},
    {"dataset": "x"},
    {"dataset": "y", "extra": {"noise": "car"}},
  )
  assert names(hypotheses, "dataset") == {"x": [1], "y": [0, 2]}
  assert names(hypotheses, "noise") == {"car": [2], "street": [0], UNSPECIFIED: [1]}
  assert names(hypotheses, "language") == {UNSPECIFIED: [0, 1, 2]}


def test_durations_group_by_length():
  hypotheses = make(*({"duration": seconds} for seconds in (31.0, 4.9, 5.0, 20.0, 3.0)))
  assert names(hypotheses, "duration") == {
    "under 5 s": [1, 4],
    "5 to 10 s": [2],
    "20 to 30 s": [3],
    "30 s and more": [0],
  }
  assert [bucket(seconds) for seconds in (0.1, 19.99)] == ["under 5 s", "10 to 20 s"]
  assert names(make({}, {"duration": 7.0}), "duration") == {"5 to 10 s": [1], UNSPECIFIED: [0]}


@pytest.mark.parametrize(
  ("value", "name"),
  [
    ("a", "a"),
    (3, "3"),
    (2.5, "2.5"),
    (True, "true"),
    (None, UNSPECIFIED),
    ("", UNSPECIFIED),
    (["א"], '["א"]'),
    ("\ud800", r"\ud800"),  # half of a surrogate pair
  ],
)
def test_any_value_has_a_name(value, name):
  assert label(value) == name


def test_a_field_that_none_has_is_an_error():
  hypotheses = make({"extra": {"noise": "car"}}, {})
  expected = r"no hypothesis has a field 'snr'; they have complete, dataset, .*, noise, reference"
  with pytest.raises(ValueError, match=expected):
    group(hypotheses, "snr")


def test_numbers_in_names_count_as_numbers():
  hypotheses = [
    Hypothesis(id=name, dataset=name, reference="", hypothesis="")
    for name in ("s10", "s2", "s1", "a", "10")
  ]
  assert list(group(hypotheses, "dataset")) == ["10", "a", "s1", "s2", "s10"]
