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
from maxtext_ext.train.eval_decoding import BrokenOff, DraftUse, Transcripts
from tests import tiny


class Mute(Engine):
  """Writes five tokens for each clip, and has memory for two rows."""

  rows: ClassVar[list[int]] = []
  drafts: ClassVar[dict[str, tuple[int, ...]]] = {}
  token_seconds = 0.25
  USES_DRAFTS = True

  def run(self, weights, clips, *, each_round):
    self.rows.append(self._config.decode_rows)
    for number, clip in enumerate(clips):
      each_round()
      if number and self.rows[-1] > 2:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
      self.drafts[clip.utterance.sample_id] = clip.draft
      written = Written(tokens=[number] * 5, finish_reason="stop", accepted=min(3, len(clip.draft)))
      yield self._answer(info(clip.utterance), written)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
  return tiny.make_run(tmp_path_factory.mktemp("run"), train=1, test=8)


@pytest.fixture
def make(keys, monkeypatch):
  """Makes the transcripts of 8 clips with `key=value` strings."""
  monkeypatch.setattr(eval_decoding, "make_engine", Mute)
  monkeypatch.setattr(Mute, "rows", [])
  monkeypatch.setattr(Mute, "drafts", {})

  def make(*more: str) -> Transcripts:
    Mute.rows.clear()
    config = load(tiny.DEMO, [*keys, "decode_rows=2", *more])
    tokenizer = Tokenizer.from_directory(config.tokenizer_path)
    return Transcripts(config, bridge.make_mesh(config), tokenizer)

  return make


@pytest.fixture
def run(make):
  """Transcribes the 8 clips with `key=value` strings; the transcripts, and rows of each attempt."""

  def run(*more: str, calls: int = 1000) -> tuple[list[Hypothesis], list[int]]:
    made = make(*more)
    asked = iter([False] * calls + [True])
    found = made(nnx.State({}), ProgressLine("", 1, visible=False), lambda: next(asked))
    return found.clips, Mute.rows

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


def test_texts_are_drafts_of_the_next_call(make):
  made = make()

  def call():
    return made(nnx.State({}), ProgressLine("", 1, visible=False), lambda: False)

  first = call()
  assert first.drafts is None and first.seconds > 0
  assert set(Mute.drafts.values()) == {()}
  second = call()
  assert Mute.drafts == {clip.id: (number,) * 5 for number, clip in enumerate(first.clips)}
  assert second.clips == first.clips
  assert second.drafts == DraftUse(accepted=3 / 5, seconds_saved=8 * 3 * 0.25)


def test_an_engine_that_ignores_drafts_gets_none(make, monkeypatch):
  monkeypatch.setattr(Mute, "USES_DRAFTS", False)
  made = make()
  for _ in range(2):
    found = made(nnx.State({}), ProgressLine("", 1, visible=False), lambda: False)
    assert found.drafts is None and set(Mute.drafts.values()) == {()}
