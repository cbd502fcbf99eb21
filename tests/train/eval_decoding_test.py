"""Clips of an evaluation, and how many are decoded together."""

from typing import ClassVar

import jax
import pytest
from flax import nnx

from maxtext_ext import bridge
from maxtext_ext.config import load
from maxtext_ext.decode.interface import Engine, Written
from maxtext_ext.evaluate.hypotheses import Hypothesis
from maxtext_ext.input.collate import info
from maxtext_ext.progress import ProgressLine
from maxtext_ext.text.tokenizer import Tokenizer
from maxtext_ext.train import eval_decoding
from maxtext_ext.train.eval_decoding import BrokenOff, Transcripts
from tests import tiny


class Mute(Engine):
  """Writes nothing, and has memory for two rows."""

  rows: ClassVar[list[int]] = []

  def run(self, weights, clips, *, each_round):
    self.rows.append(self._config.decode_rows)
    for number, clip in enumerate(clips):
      each_round()
      if number and self.rows[-1] > 2:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
      yield self._answer(info(clip.utterance), Written(tokens=[], finish_reason="stop"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
  return tiny.make_run(tmp_path_factory.mktemp("run"), train=1, test=8)


@pytest.fixture
def run(keys, monkeypatch):
  """Transcribes the 8 clips with `key=value` strings; the transcripts, and rows of each attempt."""
  monkeypatch.setattr(eval_decoding, "make_engine", Mute)

  def run(*more: str, calls: int = 1000) -> tuple[list[Hypothesis], list[int]]:
    monkeypatch.setattr(Mute, "rows", [])
    config = load(tiny.DEMO, [*keys, "decode_rows=2", *more])
    tokenizer = Tokenizer.from_directory(config.tokenizer_path)
    made = Transcripts(config, bridge.make_mesh(config), tokenizer)
    asked = iter([False] * calls + [True])
    clips = made(nnx.State({}), ProgressLine("", 1, visible=False), lambda: next(asked))
    return clips, Mute.rows

  return run


def test_out_of_memory_fewer_clips_are_decoded_together(run, caplog):
  caplog.set_level("WARNING", "maxtext_ext")
  clips, rows = run("decode_rows=5")
  assert len(clips) == 8
  assert rows == [5, 2]
  assert "out of memory in evaluation at decode_rows=5; continuing with 2" in caplog.text
  with pytest.raises(ValueError, match=r"at decode_rows=3: give fewer"):
    run("decode_rows=3", "on_oom=fail")


def ids(clips: list[Hypothesis]) -> set[str]:
  return {clip.id for clip in clips}


def test_the_clips_are_always_the_same_and_of_the_whole_split(run):
  some = ids(run("eval_clips=4")[0])
  assert len(some) == 4
  assert some == ids(run("eval_clips=4", "decode_rows=1", "data_shuffle_seed=7")[0])
  assert some != {f"clip1-{i:04d}" for i in range(4)}, "not the first, which may be of one source"


def test_the_filters_count(run):
  short = {clip.id for clip in run()[0] if clip.duration <= 1.5}
  assert 0 < len(short) < 8
  assert ids(run("max_seconds=1.5")[0]) == short


def test_it_is_broken_off_between_programs(run):
  with pytest.raises(BrokenOff):
    run(calls=2)
