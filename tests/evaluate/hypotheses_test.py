import codecs
import dataclasses
import gzip
import json
import pathlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maxtext_ext.evaluate.hypotheses import (
  Hypothesis,
  HypothesisWriter,
  read_hypotheses,
  shard_path,
)
from maxtext_ext.evaluate.hypothesis import FIELDS
from maxtext_ext.files.storage import atomic_open

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
HYPOTHESES = st.lists(
  st.builds(
    Hypothesis,
    id=TEXT.filter(bool),
    dataset=TEXT,
    language=st.none() | st.sampled_from(["English", "Arabic", "Hebrew"]),
    duration=st.floats(0, 1e5),
    reference=TEXT,
    hypothesis=TEXT,
    complete=st.booleans(),
  ),
  unique_by=lambda item: (item.dataset, item.id),
)


JSON = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
  lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
  max_leaves=5,
)

GOOD = {"id": "a", "reference": "x", "hypothesis": "y"}


def make(identifier: str = "a", **fields: object) -> Hypothesis:
  return Hypothesis(**{"id": identifier, "reference": "one", "hypothesis": "won"} | fields)


def write(path: str | pathlib.Path, *hypotheses: Hypothesis) -> None:
  with HypothesisWriter(path) as writer:
    for hypothesis in hypotheses:
      writer.write(hypothesis)


@given(hypotheses=HYPOTHESES)
def test_what_is_written_is_read_back(tmp_path_factory, hypotheses):
  path = tmp_path_factory.mktemp("decoded") / "all.jsonl"
  write(path, *hypotheses)
  assert read_hypotheses(path) == hypotheses


@given(extra=st.dictionaries(st.text().filter(lambda name: name not in FIELDS), JSON, max_size=4))
@example(extra={"text": "one", "lang": "he", "speaker": "\ud800"})  # half of a surrogate pair
def test_extra_fields_stay_with_their_hypothesis(tmp_path_factory, extra):
  path = tmp_path_factory.mktemp("decoded") / "all.jsonl"
  write(path, make(extra=extra))
  (read,) = read_hypotheses(path)
  assert read == make()
  assert read.extra == extra
  assert [read.field(name) for name in ("id", *extra, "none")] == ["a", *extra.values(), None]


def test_an_extra_field_has_a_name_of_its_own():
  with pytest.raises(ValueError, match=r"extra fields \['duration'\] have the names"):
    make(extra={"duration": 1})


def test_lines_are_plain_json_with_readable_text(tmp_path):
  path = tmp_path / "new" / "a.jsonl"
  write(path, make(language="Hebrew", duration=2.5, dataset="crowd", hypothesis="שלום\u2028עולם"))
  line = path.read_text(encoding="utf-8")
  assert "שלום" in line
  assert json.loads(line) == {
    "id": "a",
    "dataset": "crowd",
    "language": "Hebrew",
    "duration": 2.5,
    "reference": "one",
    "hypothesis": "שלום\u2028עולם",
    "complete": True,
  }


def test_directory_of_shards_is_read_in_order_of_names(tmp_path):
  for shard in (2, 0, 1):
    write(shard_path(tmp_path, shard, 3), make(f"id{shard}"))
  (tmp_path / "notes.txt").write_text("not a hypothesis")
  assert [item.id for item in read_hypotheses(tmp_path)] == ["id0", "id1", "id2"]


def test_shard_path():
  assert shard_path("out", 1, 3).endswith("out/hypotheses-00001-of-00003.jsonl")
  with pytest.raises(ValueError, match=r"shard 3 is outside of 0\.\.2"):
    shard_path("out", 3, 3)


def test_failed_run_leaves_nothing(tmp_path):
  path = tmp_path / "a.jsonl"
  with pytest.raises(RuntimeError, match="out of memory"), HypothesisWriter(path) as writer:
    writer.write(make())
    raise RuntimeError("out of memory")
  assert list(tmp_path.iterdir()) == []


def test_unfinished_file_is_not_under_its_name(tmp_path):
  path = tmp_path / "a.jsonl"
  write(path, make("old"))
  with HypothesisWriter(path) as writer:
    writer.write(make("new"))
    assert [item.id for item in read_hypotheses(tmp_path)] == ["old"]
  assert [item.id for item in read_hypotheses(tmp_path)] == ["new"]
  assert writer.count == 1


def test_atomic_open_keeps_the_old_file_when_the_block_raises(tmp_path):
  path = tmp_path / "report.html"
  path.write_text("old")
  with pytest.raises(KeyError), atomic_open(path) as file:
    file.write("half")
    raise KeyError
  assert path.read_text() == "old"
  assert list(tmp_path.iterdir()) == [path]


def test_writer_refuses_an_id_twice(tmp_path):
  with pytest.raises(ValueError, match="id 'a' is written twice"):
    write(tmp_path / "a.jsonl", make(), make())
  write(tmp_path / "b.jsonl", make(dataset="x"), make(dataset="y"))  # ids are per dataset


def test_reader_refuses_an_id_twice(tmp_path):
  write(tmp_path / "a.jsonl", make("first"), make("again", dataset="set"))
  write(tmp_path / "b.jsonl", make("again", dataset="set"))
  expected = r"b\.jsonl:1: id 'again' of dataset 'set' occurred before, at .*a\.jsonl:2"
  with pytest.raises(ValueError, match=expected):
    read_hypotheses(tmp_path)


def test_other_systems_files_need_only_three_fields(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_text('{"id": "a", "reference": "x", "hypothesis": "", "score": 1, "duration": 3}\n\n')
  assert read_hypotheses(path) == [make(reference="x", hypothesis="", duration=3.0)]


@pytest.mark.parametrize(
  ("line", "expected"),
  [
    (
      {"audio_filepath": "/data/x/a.wav", "duration": 2, "text": "one", "pred_text": "won"},
      make("a.wav", duration=2.0),
    ),
    ({"id": 7, "ref": "one", "hyp": "won", "lang": "he-IL"}, make("7", language="Hebrew")),
    ({"utt_id": "a", "reference": "one", "text": "won"}, make()),
    ({"id": "a", "text": "one", "prediction": "won", "language": "und"}, make()),
    ({"id": "a", "sentence": "one", "pred_text": None, "language": ""}, make(hypothesis="")),
    (
      {"id": "a", "text": "one", "transcription": "won", "dataset_name": "set"},
      make(dataset="set"),
    ),
    ({"id": "a", "pred_text": "won"}, make(reference=None)),
    ({"id": "a", "text": None, "pred_text": "won"}, make(reference=None)),
    ({"id": "a", "text": "", "pred_text": "won"}, make(reference="")),
    (GOOD | {"language": "a<b"}, make(language="a<b", reference="x", hypothesis="y")),
    (GOOD | {"language": None, "dataset": None, "duration": None}, make(**GOOD)),
  ],
)
def test_the_usual_names_of_other_systems_are_read(tmp_path, line, expected):
  path = tmp_path / "a.jsonl"
  path.write_bytes(codecs.BOM_UTF8 + json.dumps(line).encode())
  assert read_hypotheses(path) == [expected]


def test_an_utterance_without_an_id_is_named_by_its_sound_or_its_line(tmp_path):
  path = tmp_path / "nemo.jsonl"
  lines = [
    {"audio_filepath": "/data/a.wav", "offset": 2.5},
    {"audio_filepath": "/data/a.wav", "offset": 7.0},
    {"audio_filepath": "/other/a.wav", "offset": 7.0},
    {},
  ]
  texts = {"text": "one", "pred_text": "won"}
  path.write_text("\n".join(json.dumps(line | texts) for line in lines))
  names = [item.id for item in read_hypotheses(path)]
  assert names == ["a.wav@2.5", "a.wav@7.0", "a.wav@7.0 (nemo.jsonl:3)", "nemo.jsonl:4"]


@pytest.mark.parametrize(
  ("line", "message"),
  [
    (b"{", "not a line of JSON in UTF-8: .*; copy the file again, or remove it and run the same"),
    (b"", None),
    (b'{"id": "\xff"}', "not a line of JSON in UTF-8"),
    (b"[" * 100_000, "not a line of JSON in UTF-8"),
    (b"[]", "expected a JSON object, got list"),
    (b'{"id": "a", "text": "x"}', "no hypothesis; expected one of hypothesis, hyp, pred_text"),
    (GOOD | {"id": 7.5}, "id is 7.5, expected str or int"),
    (GOOD | {"id": True}, "id is True, expected str or int"),
    (GOOD | {"id": ""}, "id is empty"),
    (GOOD | {"reference": 3}, "reference is 3, expected str"),
    (GOOD | {"hypothesis": 3}, "hypothesis is 3, expected str"),
    (GOOD | {"language": ["English"]}, r"language is \['English'\], expected str"),
    (GOOD | {"complete": 1}, "complete is 1, expected bool"),
    (GOOD | {"duration": "3"}, "duration is '3', expected float or int"),
    (GOOD | {"duration": True}, "duration is True, expected float or int"),
    (GOOD | {"duration": -1}, "duration is -1.0, expected seconds, finite and not negative"),
    (GOOD | {"duration": float("nan")}, "duration is nan, expected seconds"),
    (GOOD | {"duration": 10**400}, "too large"),
    (GOOD | {"reference": "a\ud800"}, "reference is no valid text: lone surrogate at 1"),
  ],
)
def test_malformed_line_is_named(tmp_path, line, message):
  path = tmp_path / "a.jsonl"
  data = line if isinstance(line, bytes) else json.dumps(line).encode()
  path.write_bytes(json.dumps(GOOD | {"id": "before"}).encode() + b"\n" + data + b"\n")
  if message is None:
    assert len(read_hypotheses(path)) == 1
    return
  with pytest.raises(ValueError, match=message) as raised:
    read_hypotheses(path)
  assert str(raised.value).startswith(f"{path}:2: ")


@pytest.mark.parametrize(
  ("names", "message"),
  [
    ([], r"no \*\.jsonl file in this directory"),
    ([(0, 3), (2, 3)], "1 of 3 shards missing, first 1; run the same decode again"),
    ([(0, 2), (1, 2), (0, 1)], r"shards of several runs \(1, 2 shards\)"),
  ],
)
def test_incomplete_directory(tmp_path, names, message):
  for shard, count in names:
    write(shard_path(tmp_path, shard, count), make(f"{shard}{count}"))
  with pytest.raises(ValueError, match=message):
    read_hypotheses(tmp_path)


def test_a_compressed_file_reads_like_a_plain_one(tmp_path):
  write(shard_path(tmp_path, 0, 1), make("a"), make("b"))
  (plain,) = tmp_path.glob("*.jsonl")
  packed = tmp_path / "packed.jsonl.gz"
  packed.write_bytes(gzip.compress(plain.read_bytes()))
  assert read_hypotheses(packed) == read_hypotheses(plain)
  packed.write_bytes(packed.read_bytes()[:-12])
  with pytest.raises(ValueError, match=r"packed\.jsonl\.gz: its compressed content is cut"):
    read_hypotheses(packed)


def test_missing_path(tmp_path):
  with pytest.raises(ValueError, match="no such file or directory"):
    read_hypotheses(tmp_path / "nothing")


def test_hypothesis_holds_what_the_issues_list():
  assert {field.name for field in dataclasses.fields(Hypothesis)} == {
    "id",
    "dataset",
    "language",
    "duration",
    "reference",
    "hypothesis",
    "complete",
    "extra",
  }
