"""Speech encoders: log-mel windows in, audio tokens out; chosen by the key `speech_encoder`.

An encoder is an `nnx.Module` made of its `Config` (an `EncoderConfig`) and `rngs`, and called with
mel [B, W, C, F, M], chunk_frames [B, W, C] and chunk_segment [B, W, C]. It returns tokens
[B, W, A, D]: `tokens_per_chunk` for each chunk in order, of which `geometry.tokens(chunk_frames)`
mean something and the others are finite.
"""

from typing import Any

from maxtext_ext.models.encoders import lmu, qwen3_audio, whisper
from maxtext_ext.models.encoders.base import EncoderConfig

ENCODERS: dict[str, Any] = {
  "qwen3_audio": qwen3_audio.Qwen3AudioEncoder,
  "lmu": lmu.LMUEncoder,
  "whisper": whisper.WhisperEncoder,
}


def find_encoder(name: str) -> Any:
  """Returns the class of an encoder.

  Raises:
    ValueError: there is none of that name.
  """
  if name not in ENCODERS:
    raise ValueError(f"speech_encoder={name}, expected one of {', '.join(ENCODERS)}")
  return ENCODERS[name]


def encoder_config(config: Any) -> EncoderConfig:
  """Returns the encoder's config, with its geometry, of the configuration of a run.

  Raises:
    ValueError: the encoder is unknown, or its keys cannot be used.
  """
  return find_encoder(config.speech_encoder).Config.from_keys(config)
