"""Answers on disk: appended, continued, and kept apart from those of other settings."""

import json

import pytest

from maxtext_ext.evaluate.hypotheses import read_hypotheses
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.server_benchmark.answers import AnswerFile

SETTINGS = {"server": "http://a/v1", "data": ({"path": "x"},)}


def answer(name: str, **extra: object) -> Hypothesis:
  return Hypothesis(id=name, dataset="d", reference="one", hypothesis="one\u2028", extra=extra)


def test_answers_are_there_at_once(tmp_path):
  with AnswerFile(str(tmp_path), SETTINGS) as file:
    file.append(answer("a", latency=0.5))
    assert [each.id for each in read_hypotheses(tmp_path)] == ["a"]
    file.append(answer("b", error="HTTP 503: busy"))
    assert (file.answered, file.failed) == ({("d", "a")}, 1)
  assert read_hypotheses(tmp_path)[1].extra == {"error": "HTTP 503: busy"}


@pytest.mark.parametrize("cut", [0, 1, 20])
def test_a_continuation_keeps_complete_answers(tmp_path, cut):
  with AnswerFile(str(tmp_path), SETTINGS) as file:
    for each in (answer("a"), answer("b", error="x"), answer("c"), answer("d")):
      file.append(each)
  path = tmp_path / "answers.jsonl"
  if cut:
    path.write_bytes(path.read_bytes()[:-cut])
  kept = ["a", "c"] if cut else ["a", "c", "d"]
  with AnswerFile(str(tmp_path), SETTINGS) as file:
    assert file.answered == {("d", name) for name in kept}
    assert file.failed == 0
    file.append(answer("e"))
  assert [each.id for each in read_hypotheses(tmp_path)] == [*kept, "e"]
  assert read_hypotheses(tmp_path)[0] == answer("a")


def test_other_settings_are_refused(tmp_path):
  AnswerFile(str(tmp_path), SETTINGS)
  AnswerFile(str(tmp_path), SETTINGS)
  changed = {"server": "http://b/v1", "model": None, "data": ({"path": "x"},)}
  with pytest.raises(ValueError, match=r'server was "http://a/v1", is "http://b/v1"\); use those'):
    AnswerFile(str(tmp_path), changed)


def test_files_of_others_are_refused(tmp_path):
  (tmp_path / "answers.jsonl").write_text("{}\n")
  with pytest.raises(ValueError, match=r"has answers.jsonl without benchmark.json; name another"):
    AnswerFile(str(tmp_path), SETTINGS)
  (tmp_path / "benchmark.json").write_text("nonsense")
  with pytest.raises(ValueError, match=r"benchmark.json: not JSON"):
    AnswerFile(str(tmp_path), SETTINGS)
  (tmp_path / "benchmark.json").write_text(json.dumps(SETTINGS))
  with pytest.raises(ValueError, match=r"answers.jsonl:1: no hypothesis"):
    AnswerFile(str(tmp_path), SETTINGS)
  assert (tmp_path / "answers.jsonl").read_text() == "{}\n"
  with pytest.raises(ValueError, match="expected a local folder"):
    AnswerFile("gs://bucket/x", SETTINGS)
