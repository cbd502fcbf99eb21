import pytest

from maxtext_ext.input.datasets import Datasets, NamedData


def datasets(*weights, temperature=1.0):
  data = [NamedData(name=f"d{n}", data_dir="x", weight=w) for n, w in enumerate(weights)]
  return Datasets(mixture=data, mixture_temperature=temperature)


@pytest.mark.parametrize(
  ("temperature", "weights", "lengths", "expected"),
  [
    (1.0, (1.0, 1.0), (300, 100), (3, 1)),  # by length: their epochs keep in step
    (1.0, (1.0, 3.0), (300, 100), (1, 1)),
    (2.0, (1.0, 1.0), (900, 100), (3, 1)),
    (1e9, (1.0, 1.0), (900, 100), (1, 1)),
    (1e9, (1.0, 0.25), (900, 100), (4, 1)),
    (0.5, (1.0, 1.0), (2, 1), (4, 1)),
  ],
)
def test_proportions(temperature, weights, lengths, expected):
  got = datasets(*weights, temperature=temperature).proportions(lengths)
  assert [p / got[1] for p in got] == pytest.approx(expected, rel=1e-5)
  assert all(isinstance(p, int) for p in got)


def test_no_share_is_rounded_away():
  assert min(datasets(1.0, 1e-9, temperature=1e9).proportions((5, 5))) == 1


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: datasets(0.0), r"weight\n.*greater than 0"),
    (lambda: datasets(1.0, float("inf")), r"weight\n.*finite number"),
    (lambda: datasets(1.0, temperature=0.0), r"mixture_temperature\n.*greater than 0"),
    (lambda: NamedData(name="", data_dir="x"), "needs a name"),
    (lambda: NamedData(name="a", data_dir=""), "needs a name and a data_dir"),
    (lambda: Datasets(mixture=[NamedData(name="a", data_dir="x")] * 2), "a is there twice"),
  ],
)
def test_values_are_checked(make, message):
  with pytest.raises(ValueError, match=message):
    make()
