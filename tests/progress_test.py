import pytest

from maxtext_ext.progress import ProgressLine, announce_first_call, say


def test_a_line_of_data_reaches_no_terminal_as_a_command(capsys):
  say("/runs/\x1b[2J")
  assert capsys.readouterr().err == "/runs/\\x1b[2J\n"


def test_the_first_call_is_announced_with_its_time(capsys):
  seen = []

  def step(number: int) -> int:
    seen.append(capsys.readouterr().err)
    return number + 1

  call = announce_first_call(step, "compiling the step")
  assert [call(1), call(2)] == [2, 3]
  assert seen[0] == "compiling the step ...\n", "before it begins"
  assert seen[1].startswith("compiling the step: ") and seen[1].endswith(" s\n")
  assert capsys.readouterr().err == ""


def test_each_program_is_announced(capsys):
  call = announce_first_call(abs, "compiling", program=lambda number: number > 0)
  assert [call(n) for n in (1, 2, -1, 3, -2)] == [1, 2, 1, 3, 2]
  assert capsys.readouterr().err.count("compiling ...") == 2


def test_other_processes_than_the_first_say_nothing(capsys):
  assert announce_first_call(abs, "compiling", visible=False)(-1) == 1
  assert capsys.readouterr().err == ""


def test_what_goes_wrong_in_the_first_call_is_raised():
  def step() -> None:
    raise ValueError("no")

  with pytest.raises(ValueError, match="no"):
    announce_first_call(step, "compiling")()


def test_a_total_need_not_be_known(capsys, monkeypatch):
  monkeypatch.setattr("maxtext_ext.progress.PLAIN_INTERVAL", 0.0)
  with ProgressLine("work", None) as progress:
    progress.update(3, "1 failed")
    progress.update(4, "")
  assert capsys.readouterr().err == "work 3  1 failed\nwork 4  \n"
