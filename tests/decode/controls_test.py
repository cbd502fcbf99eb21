"""Controls of a clip: those of its request, else those of the configuration."""

import types

import pytest

from maxtext_ext.decode.controls import Controls, require_honoured
from maxtext_ext.decode.request import Request
from maxtext_ext.keys.decoding import DecodingKeys
from tests.decode.request_test import CLIP

KEYS = DecodingKeys(max_new_tokens=100).model_dump() | {"decode_sampling_strategy": "greedy"}


def config(**keys) -> types.SimpleNamespace:
  return types.SimpleNamespace(**KEYS | keys)


def test_a_request_overrules_the_configuration():
  warm = config(temperature=0.5, repetition_penalty=1.2)
  controls = Controls.of(Request(CLIP), warm)
  assert (controls.temperature, controls.repetition_penalty, controls.most) == (0.5, 1.2, 100)
  plain = Controls.of(Request(CLIP, temperature=0.0, repetition_penalty=1.0), warm)
  assert plain == Controls(most=100)


def test_the_least_limit_counts():
  limited = config(max_tokens_per_second=40.0)  # the clip has 25 ms
  assert Controls.of(Request(CLIP), limited).most == 25
  assert Controls.of(Request(CLIP, max_new_tokens=7), limited).most == 7
  assert Controls.of(Request(CLIP, max_new_tokens=700), config()).most == 100


def test_the_seed_is_that_of_the_request_or_of_the_clip():
  warm = config(temperature=1.0)
  assert Controls.of(Request(CLIP, seed=7), warm).seed == 7
  assert Controls.of(Request(CLIP, seed=-1), warm).seed == 2**64 - 1
  own = Controls.of(Request(CLIP), warm).seed
  assert own == 0x65113D3545C75E82, "the same in every version"
  assert own != Controls.of(Request(CLIP), config(temperature=1.0, sampling_seed=1)).seed


def test_what_an_engine_cannot_honour_is_refused():
  require_honoured(config(), frozenset())
  require_honoured(config(temperature=0.1), frozenset({"temperature"}))
  with pytest.raises(ValueError, match=r"temperature=0\.1: .* cannot honour it; leave it out"):
    require_honoured(config(temperature=0.1), frozenset({"repetition_penalty"}))
  with pytest.raises(ValueError, match="decode_sampling_strategy=topk is for MaxText's own"):
    require_honoured(config(decode_sampling_strategy="topk"), frozenset())
