"""Stored encoder outputs are refused where the encoder's outputs change from step to step."""

import pytest

from maxtext_ext.config import ConfigError, load
from tests import tiny

FROZEN = ("encoder_cache=true", "train_parts={projector: 0.001}")
STILL = ("spec_augment_mels=0", "spec_augment_frames=0")


def test_a_frozen_encoder_and_still_sound_are_accepted():
  assert load(tiny.DEMO, [*tiny.SHAPE, *FROZEN, *STILL]).encoder_cache


@pytest.mark.parametrize(
  ("keys", "message"),
  [
    (("encoder_cache=true", *STILL), "the encoder trains: give train_parts without encoder"),
    ((*FROZEN, *STILL, "speed_range=[0.9, 1.1]"), r"speed_range=\(0.9, 1.1\): stored outputs are"),
    ((*FROZEN, "spec_augment_mels=20"), "spec_augment_mels=20: .* give spec_augment_mels=0"),
  ],
)
def test_what_changes_the_outputs_is_refused(keys: tuple[str, ...], message: str):
  with pytest.raises(ConfigError, match=message):
    load(tiny.DEMO, tiny.last_wins([*tiny.SHAPE, *keys]))
