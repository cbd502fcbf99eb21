"""Packed rows of prompts for decoding: several clips a row, each in windows of its own."""

from collections.abc import Sequence

import numpy as np

from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.input.batch_spec import allocate, prompt_spec
from maxtext_ext.input.collate import Arrays, put_audio_index, put_sound, put_text
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.input.windows import Placement, alone_and_tail


def windows_of(utterance: Utterance) -> int:
  """Windows of a clip that shares none."""
  return -(-utterance.chunks // utterance.geometry.chunks_per_window)


def pack_prompts(
  rows: Sequence[Sequence[Utterance]],
  *,
  max_tokens: int,
  windows: int,
  clips: int,
  pad_id: int,
  audio_dtype: str,
  geometry: Geometry,
) -> Arrays:
  """Makes the arrays of rows of prompts, clips one after the other in a row.

  No window holds two clips: the attention in a window then adds up a clip's tokens in the same
  order whatever is decoded with it.

  Args:
    rows: utterances of each; a row may be empty.
    max_tokens: L.
    windows: W.
    clips: G, most clips of a row.
    pad_id: token of empty slots.
    audio_dtype: "float32" or "int16", as the samples have it.
    geometry: the encoder's, as the utterances have it.

  Returns:
    the arrays of `batch_spec.prompt_spec`, and for each row `windows` [B], how many are used, and
    `last` [B, G], the place of each clip's last token.

  Raises:
    ValueError: samples are of another type.
  """
  arrays = allocate(prompt_spec(len(rows), max_tokens, windows, audio_dtype, geometry, pad_id))
  arrays["windows"] = np.zeros(len(rows), np.int32)
  arrays["last"] = np.zeros((len(rows), clips), np.int32)
  for row, utterances in enumerate(rows):
    slot = window = 0
    for number, utterance in enumerate(utterances):
      if utterance.samples.dtype != audio_dtype:
        raise ValueError(
          f"{utterance.sample_id}: samples are {utterance.samples.dtype}, expected"
          f" audio_dtype={audio_dtype}"
        )
      alone, tail = alone_and_tail(utterance.chunks, geometry)
      place = Placement(window, window + alone, 0) if tail else Placement(window)
      put_text(arrays, row, slot, number + 1, utterance.prompt)
      put_audio_index(arrays, row, slot, utterance, place)
      put_sound(arrays, row, number + 1, utterance, place)
      slot += len(utterance.prompt)
      window += windows_of(utterance)
      arrays["last"][row, number] = slot - 1
    arrays["windows"][row] = window
  return arrays
