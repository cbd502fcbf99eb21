"""Progress in a terminal and elsewhere."""

import io

import pytest

from maxtext_ext.progress import ProgressLine


class Terminal(io.StringIO):
  def isatty(self) -> bool:
    return True


def test_a_line_under_another_is_drawn_as_long_as_it_lasts(monkeypatch):
  monkeypatch.setenv("TERM", "xterm")
  monkeypatch.setattr("sys.stderr", Terminal())
  with ProgressLine("train", 10, start=4) as above:
    above.update(5, "loss 1")
    with ProgressLine("evaluate", 3, above=above) as below:
      below.update(2, "64 clips")
      drawn = [(task.description, task.completed, task.total) for task in above._bar.tasks]
      assert drawn == [("train", 5, 10), ("evaluate", 2, 3)]
    assert [task.description for task in above._bar.tasks] == ["train"]
    above.update(6, "loss 0")
    assert above._bar.tasks[0].completed == 6


@pytest.mark.parametrize("visible", [True, False])
def test_elsewhere_it_is_printed_where_the_one_above_is(visible, capsys):
  with (
    ProgressLine("train", 10, visible=visible) as above,
    ProgressLine("evaluate", 3, above=above) as below,
  ):
    below.update(3, "96 clips")
  said = capsys.readouterr().err
  assert said == ("evaluate 3/3  96 clips  0 s left\n" if visible else "")
