"""Array shapes are checked in every function of the package that names them."""

import jaxtyping
import numpy as np
import pytest
from checked import jaxtyped_where_shaped

from maxtext_ext.decode.ctc_alignment import find_runs


def test_a_function_of_the_package_refuses_a_wrong_shape():
  assert find_runs(np.zeros(3, np.int32)).labels.size == 0
  with pytest.raises(jaxtyping.TypeCheckError):
    find_runs(np.zeros((2, 3), np.int32))


@pytest.mark.parametrize("hint", [int, str | None, np.ndarray, list[tuple[int, str]]])
def test_what_names_no_shape_is_left_alone(hint):
  def function(x: hint) -> None:
    pass

  assert jaxtyped_where_shaped(typechecker=None)(function) is function


ROW = jaxtyping.Int[np.ndarray, "B"]


@pytest.mark.parametrize("hint", [ROW, ROW | None, tuple[int, ROW], dict[str, list[ROW]]])
def test_a_shape_is_found_inside_other_types(hint):
  def function(x: hint) -> None:
    pass

  assert jaxtyped_where_shaped(typechecker=lambda function: function)(function) is not function
