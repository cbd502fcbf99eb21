"""Speech encoders: log-mel windows in, audio tokens out; chosen by the key `speech_encoder`."""

from maxtext_ext.models.encoders import qwen3_audio

ENCODERS = {"qwen3_audio": qwen3_audio.Qwen3AudioEncoder}
