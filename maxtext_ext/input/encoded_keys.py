"""Key of stored encoder outputs."""

from typing import Any

from pydantic import Field

from maxtext_ext.subconfig import SubConfig

# Keys that change the sound or its log-mel from epoch to epoch, and their values without.
_CHANGES = {
  "speed_range": (1.0, 1.0),
  "gain_db": (0.0, 0.0),
  "noise_probability": 0.0,
  "rir_probability": 0.0,
  "noise_only_rate": 0.0,
  "spec_augment_mels": 0,
  "spec_augment_frames": 0,
}


class EncodedKeys(SubConfig, title="Stored encoder outputs"):
  """Outputs of a frozen encoder, computed once instead of at every step."""

  encoder_cache: bool = Field(
    False,
    description=(
      "Store the outputs of a frozen encoder beside the training shards, and train from them; needs"
      " sound that is not augmented."
    ),
  )


def check_encoded(config: Any, *, encoder_trains: bool) -> None:
  """Raises ValueError where the outputs of the encoder change from step to step."""
  if not config.encoder_cache:
    return
  if encoder_trains:
    raise ValueError(
      "encoder_cache=true and the encoder trains: give train_parts without encoder, and"
      " lora_targets without audio_tower"
    )
  for key, off in _CHANGES.items():
    value = getattr(config, key)
    value = tuple(value) if isinstance(value, list) else value
    if value != off:
      raise ValueError(
        f"encoder_cache=true and {key}={value}: stored outputs are of the sound as it is; give"
        f" {key}={list(off) if isinstance(off, tuple) else off}, or frame_dropout instead"
      )
