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
from maxtext_ext.decode.interface import Written
from maxtext_ext.decode.request import Request
from tests.decode.beam_window_test import Ids

pytestmark = pytest.mark.slow


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


def check(ref: Reference, written: dict[str, Written], name: str) -> None:
  """Compares with what transformers wrote, and why it ended."""
  assert len(written) == len(ref.seconds)
  for clip, answer in written.items():
    tokens = ref.outputs()[f"{name}_{clip}"].tolist()
    ended = tokens[-1] in EOS_IDS
    assert answer.tokens == (tokens[:-1] if ended else tokens)
    assert answer.finish_reason == ("stop" if ended else "length")


def test_greedy_answers_on_llama2_layers_with_drafts_and_without():
  clips, (engine, weights) = utterances(SMOLLM2), engine_of(SMOLLM2, True)
  written = write(engine, weights, clips)
  check(SMOLLM2, written, "generated")
  requests = [Request(clip, draft=written[clip.sample_id].tokens[:5]) for clip in clips]
  drafted = {answer.clip.id: answer.written for answer in engine.run(weights, requests)}
  check(SMOLLM2, drafted, "generated")
  assert {answer.accepted for answer in drafted.values()} == {5}


def test_greedy_answers_on_qwen2_layers():
  check(QWEN2, write(*engine_of(QWEN2, False), utterances(QWEN2)), "generated")


def test_beam_search_on_qwen2_layers():
  keys = {"beams": dense_lm.BEAMS, "decode_rows": 2 * dense_lm.BEAMS}
  check(QWEN2, write(*engine_of(QWEN2, True, **keys), utterances(QWEN2)), "beams")


def test_a_forward_pass_over_the_whole_text_chooses_the_same_tokens():
  clip = utterances(QWEN2)[1]
  tokens = QWEN2.outputs()[f"generated_{clip.sample_id}"]
  whole = dataclasses.replace(clip, target=np.asarray([*tokens, reference.PAD], np.int32))
  found = run_all(loaded(QWEN2, False), [whole], max_tokens=256, windows=2, rows=1)
  first = len(clip.prompt) - 1
  logits = found[clip.sample_id].logits[first : first + len(tokens)]
  assert logits.argmax(axis=-1).tolist() == tokens.tolist()
