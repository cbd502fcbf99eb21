"""SpeechLM on the decoders of SmolLM2, Llama, Qwen2.5 and Qwen3, against transformers."""

import functools

import numpy as np
import pytest

from benchmarks.parity.logits import LM_ROW
from benchmarks.parity.models import TOLERANCE, Loaded, error, load_model, run_all, utterances
from benchmarks.parity.references import dense_lm
from benchmarks.parity.references.dense_lm import LLAMA, QWEN2, QWEN3, SMOLLM2
from benchmarks.parity.references.reference import Reference
from maxtext_ext.checkpoint.dense_lm import lm_keys
from tests.train.steps import Steps, noise_rows

pytestmark = pytest.mark.slow


@functools.cache
def loaded(ref: Reference, scanned: bool) -> Loaded:
  return load_model(ref, **lm_keys(dense_lm.hf_config(ref)), scan_layers=scanned)


@pytest.mark.parametrize(
  ("ref", "block", "scanned"),
  [
    (SMOLLM2, "llama2", True),
    (SMOLLM2, "llama2", False),
    (LLAMA, "qwen2", True),
    (QWEN2, "qwen2", True),
    (QWEN3, "qwen3", True),
  ],
  ids=lambda value: getattr(value, "name", str(value)),
)
def test_logits_of_packed_clips_equal_the_reference(ref, block, scanned):
  model = loaded(ref, scanned)
  assert model.config.decoder_block.value == block
  clips = utterances(ref)
  found = run_all(model, clips, **LM_ROW)
  errors = {clip.sample_id: error(ref, found[clip.sample_id].logits, clip) for clip in clips}
  print(f"{ref.name}: {max(errors.values()):.1e} of the largest logit")
  assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize("ref", [SMOLLM2, QWEN2], ids=lambda ref: ref.name)
def test_a_clips_logits_do_not_depend_on_its_mates(ref):
  clips = utterances(ref)
  together = run_all(loaded(ref, True), clips, **LM_ROW)
  for clip in clips:
    alone = run_all(loaded(ref, True), [clip], **LM_ROW)[clip.sample_id].logits
    packed = together[clip.sample_id].logits
    assert np.abs(packed - alone).max() < 1e-5 * np.abs(alone).max()


@pytest.mark.parametrize(
  "keys",
  [
    ("decoder_block=llama2", "scan_layers=false", "remat_policy=none"),
    ("decoder_block=qwen2", "attention_bias=true", "scan_layers=true", "remat_policy=full"),
  ],
  ids=["llama2", "qwen2"],
)
def test_training_steps_lower_the_loss(keys):
  steps, batch = Steps(*keys, "use_qk_norm=false", "learning_rate=0.01"), noise_rows([9, 5])
  first = steps.step(batch)["loss"]
  for _ in range(4):
    last = steps.step(batch)["loss"]
  assert last < 0.9 * first
