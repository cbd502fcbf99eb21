"""Systems read from one or several places."""

import json
import pathlib

import pytest

from maxtext_ext.evaluate.decoded import Decoded
from maxtext_ext.evaluate.system import _names, load_system
from maxtext_ext.evaluate.wer import Method

METHOD = Method(replicates=10)


def write(folder: pathlib.Path, *ids: str, normalizer: str = "", **fields: object) -> pathlib.Path:
  folder.mkdir(parents=True)
  lines = [{"id": name, "reference": "A b.", "hypothesis": "a b"} | fields for name in ids]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (folder / "hypotheses-00000-of-00001.jsonl").write_text(text)
  if normalizer:
    Decoded(
      run="r", split=folder.name, checkpoint="base", normalizer=normalizer, max_new_tokens=1
    ).write(str(folder))
  return folder


def test_several_places_are_test_sets_of_one_system(tmp_path):
  paths = [write(tmp_path / "dev", "a"), write(tmp_path / "test", "a", "b", normalizer="hebrew")]
  system = load_system(paths, method=METHOD)
  assert {name: group.utterances for name, group in system.scores.by_dataset.items()} == {
    "dev": 1,
    "test": 2,
  }
  assert (system.scores.normalizer, system.reason) == ("hebrew", "the run's")
  assert [source.split for source in system.sources] == ["test"]


def test_names_that_lines_give_stay(tmp_path):
  paths = [write(tmp_path / "x", "a", dataset="own"), write(tmp_path / "y", "b", dataset="own")]
  assert list(load_system(paths, method=METHOD).scores.by_dataset) == ["own"]
  paths.append(write(tmp_path / "z", "a", dataset="own"))
  with pytest.raises(ValueError, match=r"z: id 'a' of dataset 'own' is in .*x too"):
    load_system(paths, method=METHOD)


def test_runs_with_different_normalizers_need_one_by_name(tmp_path):
  paths = [write(tmp_path / name, name, normalizer=name) for name in ("hebrew", "english")]
  with pytest.raises(ValueError, match="normalizers english, hebrew; name one by --normalizer"):
    load_system(paths, method=METHOD)
  assert load_system(paths, method=METHOD, normalizer="none").scores.wer == 1.0


def test_a_protocol_has_its_normaliser_alignment_and_board(tmp_path):
  path = write(
    tmp_path / "x", "a", dataset="s", reference="white-paper uh", hypothesis="Whitepaper"
  )
  system = load_system([path], method=METHOD, protocol="open-asr")
  assert system.scores.wer == 0.0
  assert system.scores.method.alignment == "compounds"
  assert (system.scores.normalizer, system.reason) == (
    "english_open_asr",
    "by the protocol open-asr",
  )
  assert system.board is not None
  assert system.board.sets == {"s": {"WER": 0.0, "RTFx": None}}
  with pytest.raises(ValueError, match="unknown protocol 'x'; expected one of open-asr, ivrit"):
    load_system([path], method=METHOD, protocol="x")


def test_lines_without_a_reference_are_left_out_and_those_of_silence_count(tmp_path):
  known = write(tmp_path / "x", "a", reference="one two", hypothesis="one")
  silence = write(tmp_path / "y", "b", reference="", hypothesis="noise")
  unknown = write(tmp_path / "z", "c", "d", reference=None, hypothesis="three")
  for protocol in (None, "open-asr"):
    system = load_system([known, silence, unknown], method=METHOD, protocol=protocol)
    assert ([item.id for item in system.read], system.left_out) == (["a", "b"], 2)
  assert load_system([known, silence, unknown], method=METHOD).scores.wer == 1.0
  with pytest.raises(
    ValueError,
    match="z: no line has a reference, what was said, so nothing can be scored; expected",
  ):
    load_system([unknown], method=METHOD)


@pytest.mark.parametrize(
  ("names", "expected"),
  [
    (["s1/h.jsonl", "s2/h.jsonl"], ["s1/h.jsonl", "s2/h.jsonl"]),
    (["x/s1", "y/s2"], ["s1", "s2"]),
    (["gs://b/a/test", "gs://b/c/test"], ["a/test", "c/test"]),
    (["s1", "s1/"], None),
  ],
)
def test_places_of_one_name_are_told_apart(names, expected):
  found = _names(names)
  assert len(set(found)) == 1 if expected is None else found == expected
