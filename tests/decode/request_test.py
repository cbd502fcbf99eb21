"""Controls of a request: ranges, and which of them change a text."""

import numpy as np
import pytest

from maxtext_ext.decode.request import Request
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY

NONE = np.zeros(0, np.int32)
CLIP = Utterance(
  sample_id="a",
  dataset_name="",
  language=None,
  text="",
  samples=np.zeros(400, np.float32),
  prompt=NONE,
  target=NONE,
  audio_start=0,
  geometry=GEOMETRY,
)


@pytest.mark.parametrize(
  "control",
  [
    *({"max_new_tokens": 0}, {"temperature": -0.1}, {"temperature": float("nan")}),
    *({"seed": 2**63}, {"repetition_penalty": 0.0}, {"repetition_penalty": float("inf")}),
  ],
)
def test_values_out_of_range_are_refused(control):
  with pytest.raises(ValueError, match=f"{next(iter(control))} is .*, expected"):
    Request(CLIP, **control)


def test_controls_that_change_nothing_are_none():
  assert Request(CLIP).controls == frozenset()
  assert Request(CLIP, temperature=0.0, repetition_penalty=1.0, seed=3).controls == frozenset()
  both = Request(CLIP, temperature=0.2, repetition_penalty=0.9, max_new_tokens=1)
  assert both.controls == {"temperature", "repetition_penalty", "max_new_tokens"}
