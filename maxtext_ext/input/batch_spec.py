"""Batch specifications: names, shapes and types of the arrays of a batch."""

from typing import NamedTuple

import numpy as np

from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.records.encoded import Encoding


class ArraySpec(NamedTuple):
  """Shape and numpy dtype of an array, and the value of its empty places."""

  shape: tuple[int, ...]
  dtype: str = "int32"
  empty: int = 0

  def allocate(self) -> np.ndarray:
    """Allocates an empty array."""
    if self.empty:
      return np.full(self.shape, self.empty, self.dtype)
    return np.zeros(self.shape, self.dtype)


BatchSpec = dict[str, ArraySpec]


def allocate(spec: BatchSpec) -> dict[str, np.ndarray]:
  """Allocates the arrays of an empty batch."""
  return {name: array.allocate() for name, array in spec.items()}


def audio_spec(rows: int, windows: int, audio_dtype: str, geometry: Geometry) -> BatchSpec:
  """Describes the audio of [B, W] windows of C chunks.

  samples: chunks, as `windows.cut_chunks` makes them.
  chunk_frames: real frames of each chunk.
  chunk_segment: number of the chunk's clip in its row, from 1; 0: empty.
  """
  chunks = (rows, windows, geometry.chunks_per_window)
  return {
    "samples": ArraySpec((*chunks, geometry.chunk_samples), audio_dtype),
    "chunk_frames": ArraySpec(chunks),
    "chunk_segment": ArraySpec(chunks),
  }


def prompt_spec(
  rows: int, slots: int, windows: int, audio_dtype: str, geometry: Geometry, pad_id: int = 0
) -> BatchSpec:
  """Describes audio and prompts: [B, L] text slots.

  inputs: token ids; `pad_id` where a slot is empty.
  inputs_position: of each token in its utterance.
  inputs_segmentation: number of the token's utterance in its row, from 1; 0: empty.
  audio_index: index of the row's audio token in the slot; -1: none.
  """
  text = (rows, slots)
  return {
    "inputs": ArraySpec(text, empty=pad_id),
    "inputs_position": ArraySpec(text),
    "inputs_segmentation": ArraySpec(text),
    "audio_index": ArraySpec(text, empty=-1),
    **audio_spec(rows, windows, audio_dtype, geometry),
  }


def packed_spec(
  rows: int,
  slots: int,
  windows: int,
  audio_dtype: str,
  geometry: Geometry,
  pad_id: int = 0,
  encoding: Encoding | None = None,
) -> BatchSpec:
  """Describes a training batch of packed rows: audio, prompts and targets.

  targets: the token that follows each slot's.
  targets_segmentation: number of the utterance where the target counts, from 1; 0: it does not.
  chunk_mask: SpecAugment's masks, see `spec_augment.chunk_masks`.
  encoded: in place of the samples where there is an `encoding`: a frozen encoder's outputs.
  """
  spec = prompt_spec(rows, slots, windows, audio_dtype, geometry, pad_id)
  if encoding is not None:
    del spec["samples"]
    shape = (rows, windows, geometry.tokens_per_window, encoding.width)
    spec["encoded"] = ArraySpec(shape, encoding.dtype)
  return {
    **spec,
    "targets": ArraySpec((rows, slots)),
    "targets_segmentation": ArraySpec((rows, slots)),
    "chunk_mask": ArraySpec((*spec["chunk_frames"].shape, 4)),
  }
