"""One JSONL file of a folder of sound: the shards of a decode, put together."""

import json
import pathlib
import runpy

import pytest

from maxtext_ext.compat import dispatch
from maxtext_ext.errors import AllFailedError
from maxtext_ext.evaluate.hypotheses import HypothesisWriter, read_hypotheses, shard_path
from maxtext_ext.evaluate.hypothesis import ERROR, Hypothesis
from tests.decode import standin

SCRIPT = pathlib.Path(__file__).parents[2] / "tools" / "batch_inference.py"


def test_a_folder_becomes_a_file(tmp_path, monkeypatch, capsys):
  asked = []

  def decode(argv: list[str]) -> None:
    asked.append(argv)
    standin.decode(str(tmp_path / "out.jsonl.parts"), 23)

  monkeypatch.setattr(dispatch, "decode", decode)
  out = str(tmp_path / "out.jsonl")
  main = runpy.run_path(str(SCRIPT))["main"]
  for _ in range(2):  # the second time there is nothing left to decode
    main("a.yml", "gs://bucket/calls", out, ["run_name=r"])
    lines = [json.loads(line) for line in pathlib.Path(out).read_text().splitlines()]
    assert [line["id"] for line in lines] == sorted(standin.ids(23))
    assert lines[0]["hypothesis"] == "text of folder/0.wav"
  keys = ["decode_input=gs://bucket/calls", f"output={out}.parts", "run_name=r"]
  assert asked == [["batch_inference.py", "a.yml", *keys]] * 2
  assert f"{out}: 21 transcripts, and 2 clips that cannot be read" in capsys.readouterr().out
  assert len(read_hypotheses(out)) == 23


@pytest.mark.parametrize(
  ("source", "out", "message"),
  [
    ("clips.jsonl", "clips.jsonl", "would overwrite clips.jsonl"),
    ("clips.jsonl", "./link.jsonl", "would overwrite clips.jsonl"),
    ("gs://bucket/clips.jsonl", "gs://bucket/clips.jsonl", "would overwrite"),
    ("clips.jsonl", "a.yml", "would overwrite a.yml"),
    (".", "0.wav", "name of a sound file"),
    ("clips.jsonl", "folder", "got a folder"),
  ],
)
def test_no_input_is_overwritten(tmp_path, monkeypatch, capsys, source, out, message):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(dispatch, "decode", lambda argv: pytest.fail("too late"))
  (tmp_path / "folder").mkdir()
  for name in ("clips.jsonl", "a.yml", "0.wav"):
    (tmp_path / name).write_text("")
  (tmp_path / "link.jsonl").symlink_to("clips.jsonl")
  with pytest.raises(SystemExit) as ended:
    runpy.run_path(str(SCRIPT))["main"]("a.yml", source, out)
  assert ended.value.code == 2
  assert message in capsys.readouterr().err


def test_it_fails_where_no_clip_can_be_read(tmp_path, monkeypatch, capsys):
  out = tmp_path / "out.jsonl"

  def decode(argv: list[str]) -> None:
    del argv
    with HypothesisWriter(shard_path(f"{out}.parts")) as writer:
      writer.write(Hypothesis(id="a", reference=None, hypothesis="", extra={ERROR: "not found"}))
    raise AllFailedError("none")

  monkeypatch.setattr(dispatch, "decode", decode)
  with pytest.raises(SystemExit) as ended:
    runpy.run_path(str(SCRIPT))["main"]("a.yml", "clips", str(out))
  assert ended.value.code == 1
  assert (
    "none of the 1 clips can be read, first a: not found; check SOURCE" in capsys.readouterr().err
  )
  assert [line.id for line in read_hypotheses(out)] == ["a"]
