import numpy as np
import pytest

from maxtext_ext.evaluate.blocks import find_blocks, sum_by_block
from maxtext_ext.evaluate.hypothesis import Hypothesis


def make(*extras: dict[str, object], dataset: str = "x") -> list[Hypothesis]:
  return [
    Hypothesis(id=str(i), dataset=dataset, reference="a", hypothesis="a", extra=extra)
    for i, extra in enumerate(extras)
  ]


def found(hypotheses: list[Hypothesis], field: str = "auto") -> tuple[list[int], str]:
  blocks = find_blocks(hypotheses, field)
  return blocks.index_U.tolist(), str(blocks)


@pytest.mark.parametrize(
  ("extras", "index", "kinds"),
  [
    ([{}, {}, {}], [0, 1, 2], "3 blocks by clip"),
    ([{"speaker": "s"}, {"speaker": "t"}, {"speaker": "s"}], [0, 1, 0], "2 blocks by speaker"),
    ([{"client_id": 7}, {"client_id": 8}, {"client_id": 7}], [0, 1, 0], "2 blocks by speaker"),
    (
      [{"recording": "r"}, {"recording": "r"}, {}],
      [0, 0, 1],
      "1 block by recording and 1 by clip",
    ),
    (
      [{"session": 1, "speaker": "s"}, {"session": 1, "speaker": "t"}],
      [0, 1],
      "2 blocks by speaker",
    ),
    ([{"session": 1}, {"session": 1}, {"session": 2}], [0, 0, 1], "2 blocks by session"),
    ([{"speaker": "s"}, {"speaker": "s"}], [0, 1], "2 blocks by clip"),  # one block says nothing
    ([{"speaker": ""}, {"speaker": None}], [0, 1], "2 blocks by clip"),
  ],
)
def test_the_best_known_field_is_chosen(extras, index, kinds):
  assert found(make(*extras)) == (index, kinds)


def test_a_block_can_be_asked_for():
  hypotheses = make({"speaker": "s", "room": 1}, {"speaker": "s", "room": 2}, {"room": 1})
  assert found(hypotheses, "clip") == ([0, 1, 2], "3 blocks by clip")
  assert found(hypotheses, "room") == ([0, 1, 0], "2 blocks by room")
  assert found(hypotheses, "speaker") == ([0, 0, 1], "1 block by speaker and 1 by clip")
  with pytest.raises(ValueError, match="no hypothesis has a field 'noise', by which blocks"):
    find_blocks(hypotheses, "noise")


def test_names_belong_to_their_dataset():
  hypotheses = make({"speaker": "s"}, dataset="x") + make({"speaker": "s"}, dataset="y")
  assert found(hypotheses) == ([0, 1], "2 blocks by speaker, each within one of 2 datasets")


def test_sums_are_of_the_blocks_that_are_there():
  values = np.array([[1, 10], [2, 20], [3, 30]])
  assert sum_by_block(values, np.array([5, 2, 5])).tolist() == [[2, 20], [4, 40]]
  assert sum_by_block(values[:0], np.array([], int)).tolist() == []
