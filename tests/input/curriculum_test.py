import pytest

from maxtext_ext.input.curriculum import Curriculum


def test_the_limit_of_a_step():
  curriculum = Curriculum(curriculum=[(0.18, 1), (0.3, 2)])
  assert [curriculum.max_words(step, 100) for step in (0, 17, 18, 29, 30)] == [1, 1, 2, 2, None]
  assert Curriculum().max_words(0, 100) is None


@pytest.mark.parametrize(
  "stages", [[(0.3, 2), (0.2, 3)], [(0.2, 3), (0.3, 2)], [(1.5, 2)], [(0.0, 2)], [(0.5, 0)]]
)
def test_stages_are_checked(stages):
  with pytest.raises(ValueError, match="both ascending"):
    Curriculum(curriculum=stages)
