"""Collation of utterances into arrays of a batch: packed for training, one per row for decoding."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import grain
import numpy as np

from maxtext_ext.audio.geometry import HOP, Geometry
from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.input.batch_spec import allocate, audio_spec, packed_spec, prompt_spec
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.drops import Drop
from maxtext_ext.input.packing import Row
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.input.windows import (
  Placement,
  alone_and_tail,
  audio_index,
  frames_of_chunks,
  write_chunks,
)
from maxtext_ext.records.encoded import Encoding
from maxtext_ext.text.vocabulary import Vocabulary

Arrays = dict[str, np.ndarray]

_OVERHEAD_STEP = 32  # tokens; prompts of about the same text overhead share a program


@dataclass(frozen=True, kw_only=True)
class Fill:
  """Shares of a batch that are not padding."""

  token_fill: float  # share of the text slots
  chunk_fill: float  # share of the chunk slots
  audio_seconds: float


@dataclass(frozen=True, kw_only=True)
class Batch:
  """A host's batch, and what is known of its records.

  Attributes:
    records: their ids, row by row.
    unaligned: see `bucketed.Bucketed`.
  """

  arrays: Arrays
  records: tuple[str, ...]
  unaligned: tuple[Drop, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PackedRows:
  """Rows of a batch on this host, and their utterances by place in the order of reading."""

  rows: tuple[Row, ...]
  utterances: dict[int, Utterance]


@dataclass(frozen=True, kw_only=True)
class CollateRows(grain.transforms.Map):
  """PackedRows -> Batch: cuts the clips into chunks and puts them where the rows have them.

  Two rows of clips 0, 2 and 1 -> inputs [[151644, ..., pad], ...] [2, L], samples
  [2, W, 8, 16240], inputs_segmentation [[1, 1, ..., 2, 2, ..., 0], [1, 1, ..., 0]], ...

  Clips are cut directly into the arrays of the batch, which avoids a second copy of all the audio.

  Attributes:
    rows: B; those that are missing are empty.
    max_tokens: L.
    windows: W.
    pad_id: token of empty slots.
    audio_dtype: "float32" or "int16".
    geometry: the encoder's.
    encoding: of the outputs that the clips have in place of sound; None: they have sound.
  """

  rows: int
  max_tokens: int
  windows: int
  pad_id: int
  audio_dtype: str
  geometry: Geometry
  encoding: Encoding | None = None

  @classmethod
  def from_config(cls, config: InputConfig, windows: int, tokenizer: Vocabulary) -> Self:
    """Makes the transform of a run with so many windows per row."""
    return cls(
      rows=config.rows,
      max_tokens=config.max_tokens,
      windows=windows,
      pad_id=tokenizer.pad_id,
      audio_dtype=config.packing.audio_dtype,
      geometry=config.geometry,
      encoding=config.encoding,
    )

  def map(self, packed: PackedRows) -> Batch:
    """Makes the arrays."""
    arrays = pack_batch(
      packed.rows,
      packed.utterances,
      batch_rows=self.rows,
      max_tokens=self.max_tokens,
      windows=self.windows,
      pad_id=self.pad_id,
      audio_dtype=self.audio_dtype,
      geometry=self.geometry,
      encoding=self.encoding,
    )
    records = tuple(utterance.sample_id for utterance in packed.utterances.values())
    return Batch(arrays=arrays, records=records)


@dataclass(frozen=True, kw_only=True)
class ClipInfo:
  """Metadata of a clip beside its arrays."""

  id: str
  dataset: str
  language: str | None
  seconds: float
  reference: str
  speaker: str | None = None
  language_forced: bool = False


@dataclass(frozen=True, kw_only=True)
class DecodeBatch:
  """Prompts of one clip per row; `utterances` belong to the first rows, the others are empty."""

  arrays: Arrays
  utterances: tuple[ClipInfo, ...]


def fill(batch: Mapping[str, np.ndarray]) -> Fill:
  """Computes shares of used slots and seconds of audio in a batch of this host."""
  return Fill(
    token_fill=float((batch["inputs_segmentation"] != 0).mean()),
    chunk_fill=float((batch["chunk_segment"] != 0).mean()),
    audio_seconds=audio_seconds(batch),
  )


def audio_seconds(batch: Mapping[str, np.ndarray]) -> float:
  """Seconds of audio in a batch of this host."""
  return float(batch["chunk_frames"].sum()) * HOP / SAMPLE_RATE


def pack_batch(
  rows: Sequence[Row],
  utterances: Mapping[int, Utterance],
  *,
  batch_rows: int,
  max_tokens: int,
  windows: int,
  pad_id: int,
  audio_dtype: str,
  geometry: Geometry,
  encoding: Encoding | None = None,
) -> Arrays:
  """Makes the arrays of a training or evaluation batch; rows beyond `rows` are empty.

  Args:
    rows: at most `batch_rows` of them, by the keys of `utterances`.
    utterances: by key.
    batch_rows: B.
    max_tokens: L.
    windows: W.
    pad_id: token of empty slots.
    audio_dtype: "float32" or "int16".
    geometry: the encoder's, as the utterances have it.
    encoding: of the outputs that the utterances have in place of sound.
  """
  arrays = allocate(
    packed_spec(batch_rows, max_tokens, windows, audio_dtype, geometry, pad_id, encoding)
  )
  for row_number, row in enumerate(rows):
    slot = 0
    for segment, (key, place) in enumerate(zip(row.keys, row.places, strict=True), 1):
      utterance = utterances[key]
      tokens = np.concatenate([utterance.prompt, utterance.target])
      put_text(arrays, row_number, slot, segment, tokens[:-1])
      put_audio_index(arrays, row_number, slot, utterance, place)
      if encoding is None:
        put_sound(arrays, row_number, segment, utterance, place)
      else:
        put_encoded(arrays, row_number, segment, utterance, place)
      end = slot + utterance.tokens
      arrays["targets"][row_number, slot:end] = tokens[1:]
      answer = end - len(utterance.target)  # the prompt's last token predicts the answer's first
      arrays["targets_segmentation"][row_number, answer:end] = segment
      if utterance.chunk_mask is not None:
        put_chunks(arrays["chunk_mask"][row_number], utterance.chunk_mask, place, geometry)
      slot = end
  return arrays


def decode_shape(utterance: Utterance) -> tuple[int, int]:
  """Returns a clip's windows and text slots in decoding, which depend on its own length only.

  Windows are 1, 2, 4, 8, ...; the text slots hold all their audio tokens and a rounded number of
  other tokens. A clip without a prompt has no text slots.
  """
  geometry = utterance.geometry
  windows = -(-utterance.chunks // geometry.chunks_per_window)
  ladder = 1 << (windows - 1).bit_length()
  if not len(utterance.prompt):
    return ladder, 0
  other = max(0, len(utterance.prompt) - utterance.audio_tokens)  # a prompt may have no audio
  return ladder, ladder * geometry.tokens_per_window + -(-other // _OVERHEAD_STEP) * _OVERHEAD_STEP


def make_decode_batch(
  utterances: Sequence[Utterance],
  *,
  pad_id: int,
  rows: int | None = None,
  shape: tuple[int, int] | None = None,
  audio_dtype: str | None = None,
  geometry: Geometry | None = None,
) -> DecodeBatch:
  """Makes a batch of prompts without targets, one clip per row, from column 0 and window 0.

  Without text slots it has the arrays of the sound alone.

  Args:
    utterances: at most `rows` clips.
    pad_id: token of empty slots.
    rows: B; the number of clips when not given. Rows beyond the clips are empty.
    shape: (windows, text slots); the smallest that `decode_shape` gives for all clips when not
      given.
    audio_dtype: "float32" or "int16", as all clips have it; that of the first clip when not given.
    geometry: the encoder's, as all clips have it; that of the first clip when not given.

  Raises:
    ValueError: there are no clips, and no shape and geometry either; more clips than rows, or a
      clip larger than the shape.
  """
  rows = len(utterances) if rows is None else rows
  if len(utterances) > rows or (not utterances and not (shape and geometry)):
    raise ValueError(f"{len(utterances)} clips for a decoding batch of {rows} rows, shape {shape}")
  geometry = geometry or utterances[0].geometry
  shapes = [decode_shape(utterance) for utterance in utterances]
  windows, slots = shape or tuple(max(sizes) for sizes in zip(*shapes, strict=True))
  dtypes = {utterance.samples.dtype.name for utterance in utterances}
  dtypes |= {audio_dtype} if audio_dtype else set()
  if len(dtypes) != 1:
    raise ValueError(f"the samples of a decoding batch must be of one type, got {sorted(dtypes)}")
  dtype = dtypes.pop()
  if slots:
    arrays = allocate(prompt_spec(rows, slots, windows, dtype, geometry, pad_id))
  else:
    arrays = allocate(audio_spec(rows, windows, dtype, geometry))
  for row, utterance in enumerate(utterances):
    alone, tail = alone_and_tail(utterance.chunks, geometry)
    if alone + (tail > 0) > windows or len(utterance.prompt) > slots:
      raise ValueError(
        f"{utterance.sample_id}: {utterance.seconds:.1f} s and {len(utterance.prompt)} tokens "
        f"exceed a decoding batch of {windows} windows and {slots} tokens; leave the shape out"
      )
    place = Placement(0, alone, 0) if tail else Placement(0)
    put_sound(arrays, row, 1, utterance, place)
    if slots:
      put_text(arrays, row, 0, 1, utterance.prompt)
      put_audio_index(arrays, row, 0, utterance, place)
  return DecodeBatch(arrays=arrays, utterances=tuple(map(info, utterances)))


def info(utterance: Utterance) -> ClipInfo:
  """Returns what describes a clip without its arrays."""
  return ClipInfo(
    id=utterance.sample_id,
    dataset=utterance.dataset_name,
    language=utterance.language,
    seconds=utterance.seconds,
    reference=utterance.text,
    speaker=utterance.speaker,
    language_forced=utterance.language_forced,
  )


def put_text(arrays: Arrays, row: int, slot: int, segment: int, tokens: np.ndarray) -> None:
  """Writes tokens into a row from a slot on, with their positions and segment."""
  end = slot + len(tokens)
  arrays["inputs"][row, slot:end] = tokens
  arrays["inputs_position"][row, slot:end] = np.arange(len(tokens))
  arrays["inputs_segmentation"][row, slot:end] = segment


def put_audio_index(
  arrays: Arrays, row: int, slot: int, utterance: Utterance, place: Placement
) -> None:
  """Writes where the audio tokens of a prompt, which begins at a slot, are computed."""
  first = slot + utterance.audio_start
  tokens = utterance.audio_tokens
  index = audio_index(tokens, place, utterance.geometry)
  arrays["audio_index"][row, first : first + tokens] = index


def put_sound(
  arrays: Arrays, row: int, segment: int, utterance: Utterance, place: Placement
) -> None:
  """Writes the chunks of a clip into its windows of a row."""
  samples = arrays["samples"][row]
  for chunks, places in _slots(samples, utterance.chunks, place, utterance.geometry):
    write_chunks(utterance.samples, chunks.start, places, utterance.geometry)
  _put_frames(arrays, row, segment, utterance, place)


def put_encoded(
  arrays: Arrays, row: int, segment: int, utterance: Utterance, place: Placement
) -> None:
  """Writes the stored outputs of a clip where the encoder would put them in a row."""
  tokens = arrays["encoded"][row]
  index = audio_index(utterance.audio_tokens, place, utterance.geometry)
  tokens.reshape(-1, tokens.shape[-1])[index] = utterance.encoded
  _put_frames(arrays, row, segment, utterance, place)


def _put_frames(
  arrays: Arrays, row: int, segment: int, utterance: Utterance, place: Placement
) -> None:
  geometry = utterance.geometry
  frames = frames_of_chunks(utterance.frames, geometry)
  put_chunks(arrays["chunk_frames"][row], frames, place, geometry)
  segments = np.full(utterance.chunks, segment, np.int32)
  put_chunks(arrays["chunk_segment"][row], segments, place, geometry)


def put_chunks(
  windows: np.ndarray, chunks: np.ndarray, place: Placement, geometry: Geometry
) -> None:
  """Copies a clip's chunks [n, ...] into its windows of a row [W, C, ...]."""
  for numbers, places in _slots(windows, len(chunks), place, geometry):
    places[:] = chunks[numbers]


def _slots(
  windows: np.ndarray, chunks: int, place: Placement, geometry: Geometry
) -> Iterator[tuple[slice, np.ndarray]]:
  """Returns a clip's chunk numbers, and their places in the windows of a row [W, C, ...].

  The first chunks fill windows of their own, the last of them perhaps in part; the tail follows.
  """
  size = geometry.chunks_per_window
  alone, tail = alone_and_tail(chunks, geometry)
  own = chunks - tail
  if own:
    places = windows[place.first_window : place.first_window + alone]
    yield slice(0, own), places.reshape(alone * size, *windows.shape[2:])[:own]
  if tail:
    yield slice(own, chunks), windows[place.tail_window, place.tail_chunk :][:tail]
