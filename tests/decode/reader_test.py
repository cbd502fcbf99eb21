"""Sizes of clips by their prompts."""

import numpy as np
import pytest

from maxtext_ext.decode.reader import SIZES, Reader, longest_prompt
from maxtext_ext.decode.request import Request
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY

ROW = 16  # tokens


def request(tokens: int) -> Request:
  empty = np.zeros(0, np.int32)
  return Request(
    Utterance(
      sample_id=f"clip of {tokens}",
      dataset_name="",
      language=None,
      text="",
      samples=empty,
      prompt=np.zeros(tokens, np.int32),
      target=empty,
      audio_start=0,
      geometry=GEOMETRY,
    )
  )


def test_sizes_end_with_the_longest_prompt():
  most = longest_prompt(ROW)
  reader = Reader(map(request, (ROW, ROW + 1, most)), ROW, 8)
  reader.fill()
  assert reader.counts().tolist() == [1, 1, *[0] * (SIZES - 3), 1]
  with pytest.raises(ValueError, match=rf"clip of {most + 1}: .* at most {most} can be decoded"):
    Reader([request(most + 1)], ROW, 8).fill()
