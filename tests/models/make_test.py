"""Names of models and their parts that do not exist, refused in one line."""

import pytest

from maxtext_ext.config import ConfigError, load
from maxtext_ext.models.encoders import ENCODERS, encoder_config
from tests import tiny
from tests.families.toy_encoder import ToyEncoder


@pytest.mark.parametrize(
  ("key", "message"),
  [
    ("speech_model=other", "speech_model=other, expected one of speech_lm, ctc"),
    ("speech_encoder=other", "speech_encoder=other, expected one of qwen3_audio"),
    ("projector=other", "projector=other, expected one of mlp"),
    ("encoder={width: 8}", "speech_encoder=qwen3_audio takes its shape from the \\*_for_audio"),
    ("d_model_for_audio=30", "d_model=30 must be even and a multiple of heads=4"),
    ("train_parts={decoder: 1}", "decoder is no part, expected some of encoder, projector, lm"),
  ],
)
def test_what_is_not_there_is_one_line(key: str, message: str):
  with pytest.raises(ConfigError, match=message) as error:
    load(tiny.DEMO, [key])
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("shape", "message"),
  [
    ("{}", "encoder.width: Field required; the keys are num_mel_bins, layers, width"),
    ("{width: 0}", "encoder.width: Input should be greater than or equal to 1 .got 0.;"),
    ("{width: 8, depth: 2}", "encoder.depth: Extra inputs are not permitted"),
    ("{width: 8, dtype: float32}", "encoder.dtype follows from the run's dtype"),
  ],
)
def test_keys_of_an_encoder_that_cannot_be_used_are_one_line(monkeypatch, shape, message):
  monkeypatch.setitem(ENCODERS, "toy", ToyEncoder)
  with pytest.raises(ConfigError, match=message) as error:
    load(tiny.DEMO, ["speech_encoder=toy", f"encoder={shape}"])
  assert "\n" not in str(error.value)


def test_an_encoder_of_whole_rows_is_refused_where_rows_hold_several_clips():
  keys = ["speech_encoder=lmu", "encoder={layers: 1, width: 8}"]
  with pytest.raises(ConfigError, match="speech_encoder=lmu needs rows of one clip each"):
    load(tiny.DEMO, keys)


def test_an_encoder_has_keys_of_its_own(monkeypatch):
  monkeypatch.setitem(ENCODERS, "toy", ToyEncoder)
  keys = ["speech_encoder=toy", "encoder={width: 8, num_mel_bins: 40}", "dtype=bfloat16"]
  encoder = encoder_config(load(tiny.DEMO, keys))
  assert (encoder.width, encoder.num_mel_bins, encoder.dtype) == (8, 40, "bfloat16")
  deeper = load(tiny.DEMO, [*keys, *encoder.layer_overrides(2)])
  assert encoder_config(deeper) == encoder.model_copy(update={"layers": 2})
