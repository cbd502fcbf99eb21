import dataclasses

import numpy as np
import pytest

from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.input.collate import decode_shape, fill, make_decode_batch, pack_batch
from maxtext_ext.input.packing import pack
from maxtext_ext.input.utterance import build_utterance
from maxtext_ext.input.windows import cut_chunks
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY as QWEN3

SECONDS = [0.02, 0.5, 0.99, 1.0, 7.0, 7.5, 8.0, 8.01, 16.0, 19.3, 2.0, 3.3]
L, W, ROWS = 400, 5, 10


# Windows of 8 s too, of chunks of 0.5 s; a clip has its last window alone.
OWN_WINDOWS = Geometry(
  frames_per_chunk=50, halvings=3, chunks_per_window=16, tails_share_windows=False, min_samples=900
)


@pytest.fixture(scope="module", params=[QWEN3, OWN_WINDOWS])
def geometry(request):
  return request.param


@pytest.fixture(scope="module")
def utterances(tokenizer, make_record, geometry):
  return [
    build_utterance(make_record(n, seconds=seconds), tokenizer, geometry=geometry)
    for n, seconds in enumerate(SECONDS)
  ]


@pytest.fixture(scope="module")
def packed(tokenizer, utterances, geometry):
  lengths = [(u.tokens, u.chunks) for u in utterances]
  rows = list(pack(lengths, geometry=geometry, max_tokens=L, windows=W))
  assert 1 < len(rows) < ROWS  # several, and at least one stays empty
  masked = [
    dataclasses.replace(u, chunk_mask=np.full((u.chunks, 4), n, np.int32))
    for n, u in enumerate(utterances)
  ]
  batch = pack_batch(
    rows,
    dict(enumerate(masked)),
    batch_rows=ROWS,
    max_tokens=L,
    windows=W,
    pad_id=tokenizer.pad_id,
    audio_dtype="float32",
    geometry=geometry,
  )
  places = [
    (row, segment, key) for row, r in enumerate(rows) for segment, key in enumerate(r.keys, 1)
  ]
  return batch, places


def test_shapes_and_types(packed, geometry):
  batch, _ = packed
  for key in ("inputs", "inputs_position", "inputs_segmentation", "targets", "audio_index"):
    assert (batch[key].shape, batch[key].dtype) == ((ROWS, L), np.int32)
  assert batch["samples"].shape == (ROWS, W, geometry.chunks_per_window, geometry.chunk_samples)
  assert batch["samples"].dtype == np.float32
  assert batch["chunk_mask"].shape == (ROWS, W, geometry.chunks_per_window, 4)


def test_text_of_every_utterance(packed, utterances):
  batch, places = packed
  for row, segment, key in places:
    slots = batch["inputs_segmentation"][row] == segment
    tokens = np.concatenate([utterances[key].prompt, utterances[key].target])
    np.testing.assert_array_equal(batch["inputs"][row, slots], tokens[:-1])
    np.testing.assert_array_equal(batch["targets"][row, slots], tokens[1:])
    np.testing.assert_array_equal(batch["inputs_position"][row, slots], np.arange(slots.sum()))


def test_loss_counts_on_the_target_and_its_end_alone(packed, utterances):
  batch, places = packed
  for row, segment, key in places:
    counted = batch["targets_segmentation"][row] == segment
    np.testing.assert_array_equal(batch["targets"][row, counted], utterances[key].target)
  counted = (batch["targets_segmentation"] != 0).sum()
  assert counted == sum(len(u.target) for u in utterances)


def test_audio_of_every_utterance_is_where_its_tokens_point(
  packed, utterances, tokenizer, geometry
):
  batch, places = packed
  is_audio = batch["audio_index"] >= 0
  np.testing.assert_array_equal(is_audio, batch["inputs"] == tokenizer.audio_pad_id)
  for row, segment, key in places:
    index = batch["audio_index"][row][
      is_audio[row] & (batch["inputs_segmentation"][row] == segment)
    ]
    assert len(index) == len(set(index.tolist())) == utterances[key].audio_tokens
    window, inside = np.divmod(index, geometry.tokens_per_window)
    chunk = inside // geometry.tokens_per_chunk
    slots = list(dict.fromkeys(zip(window.tolist(), chunk.tolist(), strict=True)))
    chunks = cut_chunks(utterances[key].samples, geometry)
    assert len(slots) == len(chunks)
    for slot, samples in zip(slots, chunks, strict=True):
      np.testing.assert_array_equal(batch["samples"][row][slot], samples)
      assert batch["chunk_segment"][row][slot] == segment
      assert batch["chunk_mask"][row][slot].tolist() == [key] * 4
    frames = [batch["chunk_frames"][row][slot] for slot in slots]
    assert sum(frames) == utterances[key].frames
    assert set(frames[:-1]) <= {geometry.frames_per_chunk}
    # Tokens of a chunk are its first ones, in order.
    size = geometry.tokens_per_chunk
    np.testing.assert_array_equal(index % size, np.arange(len(index)) % size)


def test_empty_slots(packed, tokenizer):
  batch, places = packed
  empty = batch["inputs_segmentation"] == 0
  assert (batch["inputs"][empty] == tokenizer.pad_id).all()
  for key, value in (
    ("inputs_position", 0),
    ("targets", 0),
    ("targets_segmentation", 0),
    ("audio_index", -1),
  ):
    assert (batch[key][empty] == value).all(), key
  unused = batch["chunk_segment"] == 0
  assert not batch["samples"][unused].any()
  assert not batch["chunk_frames"][unused].any()
  assert empty[max(row for row, _, _ in places) + 1 :].all()


def test_fill(packed, utterances, geometry):
  batch, _ = packed
  got = fill(batch)
  assert got.token_fill == pytest.approx(sum(u.tokens for u in utterances) / (ROWS * L))
  assert got.chunk_fill == pytest.approx(
    sum(u.chunks for u in utterances) / (ROWS * W * geometry.chunks_per_window)
  )
  assert got.audio_seconds == pytest.approx(sum(u.frames for u in utterances) / 100)


def test_a_decoding_batch_names_its_speakers(tokenizer, make_record, geometry):
  clips = [
    build_utterance(make_record(n, speaker=speaker), tokenizer, geometry=geometry)
    for n, speaker in enumerate(("s1", None))
  ]
  batch = make_decode_batch(clips, pad_id=tokenizer.pad_id)
  assert [info.speaker for info in batch.utterances] == ["s1", None]


def test_decode_rows_depend_on_no_mate(utterances, tokenizer, geometry):
  together = make_decode_batch(utterances, pad_id=tokenizer.pad_id, rows=16)
  assert [info.id for info in together.utterances] == [u.sample_id for u in utterances]
  assert not together.arrays["inputs_segmentation"][len(utterances) :].any()
  for row, utterance in enumerate(utterances):
    alone = make_decode_batch([utterance], pad_id=tokenizer.pad_id).arrays
    windows, slots = decode_shape(utterance)
    assert alone["samples"].shape == (
      1,
      windows,
      geometry.chunks_per_window,
      geometry.chunk_samples,
    )
    assert alone["inputs"].shape == (1, slots)
    for key, value in alone.items():
      used = tuple(slice(0, n) for n in value.shape[1:])
      np.testing.assert_array_equal(together.arrays[key][row][used], value[0], err_msg=key)
    np.testing.assert_array_equal(alone["inputs"][0, : len(utterance.prompt)], utterance.prompt)
    index = alone["audio_index"][0]
    np.testing.assert_array_equal(index[index >= 0], np.arange(utterance.audio_tokens))


@pytest.mark.parametrize(
  ("seconds", "windows"), [(0.1, 1), (8.0, 1), (8.01, 2), (16.1, 4), (32.5, 8), (60.0, 8)]
)
def test_decode_shapes_are_few(tokenizer, make_record, seconds, windows):
  utterance = build_utterance(make_record(0, seconds=seconds), tokenizer, geometry=QWEN3)
  got, slots = decode_shape(utterance)
  assert got == windows
  assert slots >= len(utterance.prompt)
  assert (slots - 104 * windows) % 32 == 0


def test_decode_batch_refuses_what_it_cannot_hold(utterances, tokenizer):
  pad_id = tokenizer.pad_id
  with pytest.raises(ValueError, match="2 clips for a decoding batch of 1 rows"):
    make_decode_batch(utterances[:2], pad_id=pad_id, rows=1)
  with pytest.raises(ValueError, match=r"clip9: 19\.3 s"):
    make_decode_batch([utterances[9]], pad_id=pad_id, shape=(2, 500))
  with pytest.raises(ValueError, match="0 clips"):
    make_decode_batch([], pad_id=pad_id)
  with pytest.raises(ValueError, match="of one type"):
    make_decode_batch(utterances[:1], pad_id=pad_id, audio_dtype="int16")
