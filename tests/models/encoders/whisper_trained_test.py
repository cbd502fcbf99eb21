"""The trained encoder of Whisper tiny.en against CTranslate2's outputs."""

import numpy as np
import pytest

from benchmarks.parity.references import whisper as golden
from benchmarks.parity.whisper import Encoder
from maxtext_ext.checkpoint import ctranslate2_whisper as ct2

pytest.importorskip(ct2.PACKAGE)  # of the extra real-weights, which dev includes

TOLERANCE = 1e-5  # of the largest value; both compute in float32 with weights stored in float16


def test_trained_weights_give_the_outputs_of_ctranslate2():
  encoder = Encoder(*ct2.hf_encoder(ct2.read_encoder(ct2.installed_tiny_en())))
  with np.load(golden.TRAINED_PATH) as stored:
    for number, clip in enumerate(golden.TRAINED.clips()):
      want = stored[f"tiny.en_{number}_0"]
      (states,) = encoder([clip], 1)[0]
      got = states[golden.stored_positions(number, len(clip))]
      assert np.abs(got - want).max() < TOLERANCE * np.abs(want).max()
