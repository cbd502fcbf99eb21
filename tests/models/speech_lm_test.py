"""The whole model against transformers: logits of ragged clips, whatever the packing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.parity.models import (
  LAYOUTS,
  TOLERANCE,
  Loaded,
  batch_of,
  error,
  load_model,
  run_all,
  utterances,
)
from benchmarks.parity.references import qwen3_asr, qwen3_asr_odd, qwen3_omni
from benchmarks.parity.references.reference import Reference
from maxtext_ext import bridge

pytestmark = pytest.mark.slow

ASR, OMNI = qwen3_asr.REFERENCE, qwen3_omni.REFERENCE
REFERENCES = {ref.name: ref for ref in (ASR, qwen3_asr_odd.REFERENCE, OMNI)}
BASES = {OMNI.name: "qwen3-omni-30b-a3b"}  # whose settings are used, in the reference's shape


@functools.cache
def loaded(ref: Reference, scanned: bool) -> Loaded:
  return load_model(ref, model=BASES.get(ref.name, "qwen3-asr-0.6b"), scan_layers=scanned)


# Rows do not depend on how layers are stored; `make parity` measures all combinations.
@pytest.mark.parametrize(
  ("scanned", "layout"), [*((True, layout) for layout in LAYOUTS), (False, "packed")]
)
@pytest.mark.parametrize("name", REFERENCES)
def test_logits_and_routers_equal_the_reference(name, scanned, layout):
  ref = REFERENCES[name]
  clips = utterances(ref)
  found = run_all(loaded(ref, scanned), clips, **LAYOUTS[layout])
  errors = {clip.sample_id: error(ref, found[clip.sample_id].logits, clip) for clip in clips}
  print(f"{name}: {max(errors.values()):.1e} of the largest logit")
  assert max(errors.values()) < TOLERANCE, errors
  if "num_experts" in ref.text:
    for clip in clips:
      experts = found[clip.sample_id].experts
      want = ref.outputs()[f"experts_{clip.sample_id}"][:, : clip.tokens]
      assert np.array_equal(experts, want), f"clip {clip.sample_id}"


def test_the_kernel_of_experts_on_tpus_gives_the_same():
  """Interpreted here."""
  other = load_model(OMNI, model=BASES[OMNI.name], scan_layers=True, megablox=True)
  clips = utterances(OMNI)[:4]
  found = run_all(other, clips, max_tokens=192, windows=1, rows=1)
  errors = {clip.sample_id: error(OMNI, found[clip.sample_id].logits, clip) for clip in clips}
  assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("name", [ASR.name, OMNI.name])
def test_a_clips_logits_do_not_depend_on_its_mates(name, order):
  ref = REFERENCES[name]
  shape = {"max_tokens": 1408, "windows": 13, "rows": 1}
  clips = utterances(ref)[:6]
  shuffled = [clips[i] for i in np.random.default_rng(order).permutation(len(clips))]
  together = run_all(loaded(ref, True), shuffled, **shape)
  for clip in clips[::3]:
    alone = run_all(loaded(ref, True), [clip], **shape)[clip.sample_id].logits
    scale = np.abs(alone).max()
    assert np.abs(together[clip.sample_id].logits - alone).max() / scale < 1e-5


def test_a_wrong_placement_shows():
  """The tolerance is tight enough to see one audio token in the wrong place."""
  clip = utterances(ASR)[4]
  model = loaded(ASR, True)
  arrays, _ = batch_of([clip], max_tokens=1408, windows=13, rows=1)
  first = clip.audio_start
  arrays["audio_index"][0, [first, first + 1]] = arrays["audio_index"][0, [first + 1, first]]
  with bridge.mesh_scope(model.config, model.mesh):
    logits = np.asarray(model.run(jax.tree.map(jnp.asarray, arrays)))
  assert error(ASR, logits[0, : clip.tokens], clip) > 10 * TOLERANCE
