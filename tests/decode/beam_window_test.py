"""Beam search in slots writes what transformers does, whatever is decoded with a clip."""

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flax import nnx

from benchmarks.parity.generation import write
from benchmarks.parity.models import load_model, utterances
from benchmarks.parity.references import beams, reference
from maxtext_ext import bridge
from maxtext_ext.decode.engine import SlotEngine
from maxtext_ext.decode.request import Request
from maxtext_ext.text.vocabulary import Vocabulary

CLIPS = utterances(beams.REFERENCE)


class Ids(Vocabulary):
  """The reference's vocabulary, whose texts are ids."""

  directory = ""
  vocab_size = reference.VOCABULARY
  pad_id = reference.PAD
  eos_ids = frozenset(beams.EOS_IDS)

  def encode(self, text):
    return [int(word) for word in text.split()]

  def decode(self, ids):
    return " ".join(map(str, ids))

  def checksum(self):
    return ""


@pytest.fixture(scope="module")
def make() -> Callable[..., tuple[SlotEngine, Any]]:
  """Makes engines of the reference's model, and their weights."""
  loaded = load_model(beams.REFERENCE)
  params = nnx.state(loaded.merge(), nnx.Param)

  def make(size: int, penalty: float, **keys: Any) -> tuple[SlotEngine, Any]:
    own = {"beams": size, "length_penalty": penalty, "audio_dtype": "float32", "loop_repeats": 0}
    own |= {"decode_rows": 2 * size, "max_new_tokens": beams.NEW_TOKENS, **keys}
    engine = SlotEngine(bridge.replace(loaded.config, **own), loaded.mesh, Ids())
    return engine, engine.prepare(params)

  return make


@pytest.fixture(scope="module")
def made(make):
  """An engine of the first case, with two clips together, and its weights."""
  return make(*beams.CASES[0])


def check(written, case: int) -> None:
  """Compares with the reference."""
  assert len(written) == len(CLIPS)
  for clip, want in zip(CLIPS, beams.outputs()[case], strict=True):
    answer, tokens = written[clip.sample_id], want["tokens"]
    ended = tokens[-1] in beams.EOS_IDS
    assert answer.tokens == (tokens[:-1] if ended else tokens)
    assert answer.finish_reason == ("stop" if ended else "length")
    np.testing.assert_allclose(answer.log_probs, want["log_probs"], atol=1e-4)


def test_answers_are_those_of_transformers(made):
  check(write(*made, CLIPS), 0)


def test_programs_with_a_buffer_write_the_same(make):
  """Those of TPUs, on a CPU."""
  engine, weights = make(*beams.CASES[1])
  engine._platform = "tpu"
  check(write(engine, weights, CLIPS), 1)


def test_answers_do_not_depend_on_the_order_nor_on_the_other_clips(made):
  together = write(*made, CLIPS)
  for seed in range(3):
    assert write(*made, random.Random(seed).sample(CLIPS, len(CLIPS))) == together
  for clip in CLIPS[::2]:
    assert write(*made, [clip]) == {clip.sample_id: together[clip.sample_id]}


def test_a_clip_that_needs_more_places_gets_them(made, monkeypatch):
  engine, _ = made
  start, begin = engine.counts.windows, engine._begin
  together = write(*made, CLIPS)
  usual = engine.counts.windows - start

  def begin_tightly(request: Request):
    clip = begin(request)
    return dataclasses.replace(clip, limit=clip.prompt + clip.width)

  monkeypatch.setattr(engine, "_begin", begin_tightly)
  assert write(*made, CLIPS) == together
  assert engine.counts.windows - start - usual > 2 * usual, "clips have waited for places"


def test_a_request_may_have_fewer_tokens(made):
  engine, weights = made
  answers = engine.run(weights, [Request(clip, max_new_tokens=3) for clip in CLIPS[:3]])
  assert {len(answer.written.tokens) for answer in answers} == {3}


def test_more_beams_than_rows_are_refused(make):
  with pytest.raises(ValueError, match="beams is 4, expected at most decode_rows=3, "):
    make(4, 1.0, decode_rows=3)


def test_other_controls_are_refused(make, made):
  for control in ({"temperature": 0.5}, {"repetition_penalty": 1.1}):
    name = next(iter(control))
    with pytest.raises(ValueError, match=f"{name}=.* cannot be combined with beams=2; leave one"):
      make(2, 1.0, **control)
    engine, weights = made
    with pytest.raises(ValueError, match=f"0: {name} cannot be combined with beams=4; leave it"):
      next(engine.run(weights, [Request(CLIPS[0], **control)]))
