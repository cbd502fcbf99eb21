"""Decoding in slots on the decoders of SmolLM2 and Qwen2.5 writes what transformers does."""

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
from flax import nnx

from benchmarks.parity.generation import write
from benchmarks.parity.models import Loaded, load_model, run_all, utterances
from benchmarks.parity.references import dense_lm, reference
from benchmarks.parity.references.dense_lm import EOS_IDS, NEW_TOKENS, QWEN2, SMOLLM2
from benchmarks.parity.references.reference import Reference
from maxtext_ext import bridge
from maxtext_ext.checkpoint.dense_lm import lm_keys
from maxtext_ext.decode.engine import SlotEngine
from maxtext_ext.decode.request import Request
from tests.decode.beam_window_test import Ids


class Words(Ids):
  """The reference's vocabulary."""

  eos_ids = frozenset(EOS_IDS)


@functools.cache
def loaded(ref: Reference, scanned: bool) -> Loaded:
  return load_model(ref, **lm_keys(dense_lm.hf_config(ref)), scan_layers=scanned)


def engine_of(ref: Reference, scanned: bool, **keys: Any) -> tuple[SlotEngine, Any]:
  model = loaded(ref, scanned)
  own = {"audio_dtype": "float32", "loop_repeats": 0, "decode_rows": 2, **keys}
  config = bridge.replace(model.config, max_new_tokens=NEW_TOKENS, **own)
  engine = SlotEngine(config, model.mesh, Words())
  return engine, engine.prepare(nnx.state(model.merge(), nnx.Param))


def expected(ref: Reference, clip: str, name: str) -> tuple[list[int], str]:
  """What transformers wrote: tokens, and why it ended."""
  tokens = ref.outputs()[f"{name}_{clip}"].tolist()
  ended = tokens[-1] in EOS_IDS
  return (tokens[:-1], "stop") if ended else (tokens, "length")


BLOCKS = pytest.mark.parametrize(
  ("ref", "scanned"), [(SMOLLM2, True), (QWEN2, False)], ids=["llama2", "qwen2"]
)


@BLOCKS
def test_greedy_answers_are_those_of_transformers_with_drafts_and_without(ref, scanned):
  clips, (engine, weights) = utterances(ref), engine_of(ref, scanned)
  written = write(engine, weights, clips)
  drafted = {
    answer.clip.id: answer.written
    for answer in engine.run(
      weights, [Request(clip, draft=written[clip.sample_id].tokens[:5]) for clip in clips]
    )
  }
  for clip in clips:
    answer = written[clip.sample_id]
    assert (answer.tokens, answer.finish_reason) == expected(ref, clip.sample_id, "generated")
    assert drafted[clip.sample_id].tokens == answer.tokens
    assert drafted[clip.sample_id].accepted == 5


@BLOCKS
def test_a_forward_pass_over_the_whole_text_chooses_the_same_tokens(ref, scanned):
  clip = utterances(ref)[1]
  tokens = ref.outputs()[f"generated_{clip.sample_id}"]
  whole = dataclasses.replace(clip, target=np.asarray([*tokens, reference.PAD], np.int32))
  found = run_all(loaded(ref, scanned), [whole], max_tokens=256, windows=2, rows=1)
  first = len(clip.prompt) - 1
  logits = found[clip.sample_id].logits[first : first + len(tokens)]
  assert logits.argmax(axis=-1).tolist() == tokens.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("ref", [SMOLLM2, QWEN2], ids=lambda ref: ref.name)
def test_beam_search_finds_what_transformers_finds(ref):
  engine, weights = engine_of(ref, True, beams=dense_lm.BEAMS, decode_rows=2 * dense_lm.BEAMS)
  written = write(engine, weights, utterances(ref))
  for clip, answer in written.items():
    assert (answer.tokens, answer.finish_reason) == expected(ref, clip, "beams")
