"""Storing of a frozen encoder's outputs beside the shards, before the first step of a run.

Each host encodes its share of the shards that are not stored yet, as they are finished one by one a
run that was killed goes on where it was. A few stored clips are encoded again at every start and
compared. Windows are encoded one at a time of as many rows as in a step, so that on one device the
loss has every bit of the one without stored outputs.
"""

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from maxtext_ext import bridge
from maxtext_ext.audio.mel import log_mel
from maxtext_ext.input.batch_spec import allocate, audio_spec
from maxtext_ext.input.collate import put_sound
from maxtext_ext.input.pipeline import InputConfig
from maxtext_ext.input.reading import open_training_data
from maxtext_ext.input.utterance import Utterance, samples_of
from maxtext_ext.input.windows import Placement, alone_and_tail, audio_index
from maxtext_ext.models.encoders import encoder_config, find_encoder
from maxtext_ext.models.lora import LORA_A
from maxtext_ext.parallel import gather_texts
from maxtext_ext.progress import ProgressLine
from maxtext_ext.records.encoded import (
  EncodedSource,
  Encoding,
  encoded_path,
  is_encoded,
  write_encoded,
)
from maxtext_ext.records.reader import RecordSource
from maxtext_ext.records.schema import decode_example

_FORMAT = 1  # of what is stored; with another one it is computed anew
_WINDOWS = 2  # of a row; XLA makes no loop of one, and rounds otherwise without a loop
_AHEAD = 16  # batches whose clips are read together, and sorted by their windows
_CHECKED = 4  # stored clips of a host that are encoded again
# Of the largest value: other machines round otherwise, float32 by about 1e-5.
_TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2}
_NO_TOKENS = np.array([], np.int32)


def store_outputs(config: bridge.Config, inputs: InputConfig, state: nnx.State) -> InputConfig:
  """Encodes the training shards that are not stored yet; every process of a run calls it.

  Args:
    inputs: of training.
    state: the train state, whose encoder is frozen.

  Returns:
    `inputs` for batches that have the outputs in place of sound.

  Raises:
    ValueError: the encoder has adapters, what is stored is not what it gives, or the hosts do not
      share a folder.
    OSError: the folder of the shards cannot be written to.
  """
  encoder = FrozenEncoder(config, inputs, state["model"]["speech_encoder"])
  shards = [shard for data in open_training_data(inputs) for shard in data.source.shards]
  host, hosts = jax.process_index(), jax.process_count()
  missing = [shard for shard in shards if not is_encoded(shard, encoder.encoding)]
  said = _check_stored(encoder, [shard for shard in shards if shard not in missing], host, hosts)
  # Hosts look before any writes, so that all divide the same shards.
  lists = [json.loads(text) for text in gather_texts(json.dumps([said, missing]))]
  if wrong := [said for said, _ in lists if said]:
    raise ValueError(wrong[0])
  _encode_shards(encoder, lists[0][1][host::hosts], visible=host == 0)
  if hosts > 1:
    multihost_utils.sync_global_devices("the encoder's outputs are stored")
  for shard in shards:
    if not is_encoded(shard, encoder.encoding):
      raise ValueError(
        f"{encoded_path(shard, encoder.encoding)} is not there on process {host}: encoder_cache"
        " needs a folder that all hosts share"
      )
  return dataclasses.replace(inputs, encoding=encoder.encoding)


class FrozenEncoder:
  """Encoder on the devices of this host alone, whatever the mesh of the run.

  Attributes:
    encoding: describes its outputs.
  """

  def __init__(self, config: bridge.Config, inputs: InputConfig, params: nnx.State) -> None:
    if any(str(path[-1]).endswith(LORA_A) for path, _ in nnx.to_flat_state(params)):
      raise ValueError("encoder_cache=true and the encoder has adapters: give other lora_targets")
    shape = encoder_config(config)
    self._inputs, self._rows = inputs, inputs.rows // config.gradient_accumulation_steps
    weights = jax.tree.map(_on_host, params)
    self.encoding = Encoding(
      fingerprint=_fingerprint(config, weights),
      width=shape.out_dim,
      dtype=np.dtype(shape.dtype).name,
    )
    made = find_encoder(config.speech_encoder)
    graph = nnx.graphdef(nnx.eval_shape(lambda: made(shape, rngs=nnx.Rngs(params=0))))
    devices = jax.local_devices()
    used = devices if self._rows % len(devices) == 0 else devices[:1]
    mesh = Mesh(np.array(used), ("rows",))
    self._by_row = NamedSharding(mesh, PartitionSpec("rows"))
    self._weights = jax.device_put(weights, NamedSharding(mesh, PartitionSpec()))

    @jax.jit
    def encode(weights: nnx.State, batch: dict[str, jax.Array]) -> jax.Array:
      sound = batch["samples"], batch["chunk_frames"], batch["chunk_segment"]
      padded = shape.geometry.padded_windows
      mel = log_mel(*sound, shape.num_mel_bins, padded_windows=padded)
      return nnx.merge(graph, weights)(mel, *sound[1:])

    self._encode = encode

  def encode(self, records: Iterable[bytes]) -> Iterator[np.ndarray]:
    """Returns the tokens of serialized records in order; none of one that cannot be used."""
    records = iter(records)
    size = _AHEAD * _WINDOWS * self._rows
    while some := list(itertools.islice(records, size)):
      clips = [self._clip(record) for record in some]
      found: dict[int, np.ndarray] = {}
      by_windows: dict[int, dict[int, Utterance]] = {}
      for number, clip in enumerate(clips):
        if clip is not None:
          by_windows.setdefault(_windows_of(clip), {})[number] = clip
      for windows, usable in sorted(by_windows.items()):
        a_row = max(1, _WINDOWS // windows)
        for batch in itertools.batched(usable.items(), a_row * self._rows):
          tokens = self._run([clip for _, clip in batch], windows)
          found |= {number: each for (number, _), each in zip(batch, tokens, strict=True)}
      empty = np.zeros((0, self.encoding.width), self.encoding.numpy_dtype)
      for number in range(len(clips)):
        yield found.get(number, empty)

  def _clip(self, data: bytes) -> Utterance | None:
    try:
      record = decode_example(data, copy=False)
      samples = samples_of(record, self._inputs.packing.audio_dtype)
    except ValueError:  # RecordError is one; training drops the record, and says why
      return None
    return Utterance(
      sample_id=record.sample_id,
      dataset_name=record.dataset_name,
      language=None,
      text="",
      samples=samples,
      prompt=_NO_TOKENS,
      target=_NO_TOKENS,
      audio_start=0,
      geometry=self._inputs.geometry,
    )

  def _run(self, clips: Sequence[Utterance], windows: int) -> list[np.ndarray]:
    """Encodes a batch of clips of so many windows each."""
    geometry = self._inputs.geometry
    a_row = max(1, _WINDOWS // windows)
    dtype = self._inputs.packing.audio_dtype
    arrays = allocate(audio_spec(self._rows, a_row * windows, dtype, geometry))
    places = []
    for number, clip in enumerate(clips):
      row, slot = divmod(number, a_row)
      alone, tail = alone_and_tail(clip.chunks, geometry)
      first = slot * windows
      place = Placement(first, first + alone, 0) if tail else Placement(first)
      put_sound(arrays, row, slot + 1, clip, place)
      places.append((row, audio_index(clip.audio_tokens, place, geometry)))
    batch = {key: jax.device_put(value, self._by_row) for key, value in arrays.items()}
    out = np.asarray(self._encode(self._weights, batch))
    out = out.reshape(self._rows, -1, self.encoding.width)
    return [out[row, index] for row, index in places]


def _windows_of(clip: Utterance) -> int:
  return -(-clip.chunks // clip.geometry.chunks_per_window)


def _on_host(leaf: jax.Array) -> np.ndarray:
  """Returns a whole parameter, wherever its parts lie; every process calls it."""
  if leaf.is_fully_addressable:
    return np.asarray(leaf)
  return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))


def _fingerprint(config: bridge.Config, weights: nnx.State) -> str:
  """Computes what tells encoders apart: weights, configuration, and how exactly they compute."""
  shape = encoder_config(config)
  digest = hashlib.sha256()
  kept = {key: str(value) for key, value in shape.model_dump().items()}
  for key in ("remat", "unroll", "weight_dtype"):
    del kept[key]
  said = [_FORMAT, config.speech_encoder, kept, str(config.matmul_precision), config.audio_dtype]
  digest.update(json.dumps(said, sort_keys=True).encode())
  for path, leaf in sorted(nnx.to_flat_state(weights), key=lambda item: str(item[0])):
    value = np.asarray(leaf[...])
    digest.update(f"{path} {value.dtype} {value.shape}".encode())
    digest.update(np.ascontiguousarray(value).view(np.uint8).data)
  return digest.hexdigest()


def _encode_shards(encoder: FrozenEncoder, shards: Sequence[str], *, visible: bool) -> None:
  sources = [RecordSource([shard]) for shard in shards]
  with ProgressLine("encoding", sum(map(len, sources)), visible=visible) as line:
    done = 0
    for shard, source in zip(shards, sources, strict=True):
      records = (source[index] for index in range(len(source)))
      write_encoded(shard, encoder.encoding, encoder.encode(records))
      done += len(source)
      line.update(done, os.path.basename(shard))


def _check_stored(encoder: FrozenEncoder, shards: Sequence[str], host: int, hosts: int) -> str:
  """Encodes some stored clips again; returns what is wrong, on one line, or nothing."""
  if not shards:
    return ""
  for turn in range(_CHECKED):
    shard = shards[(host + turn * hosts) % len(shards)]
    source, stored = RecordSource([shard]), EncodedSource([shard], encoder.encoding)
    path = encoded_path(shard, encoder.encoding)
    if len(stored) != len(source):
      return f"{path}: outputs of {len(stored)} records, expected {len(source)}; remove it"
    number = turn * len(source) // _CHECKED
    (tokens,) = encoder.encode([source[number]])
    if tokens.shape != stored[number].shape:
      return f"{path}: record {number} has another length; remove it"
    want, got = tokens.astype(np.float32), stored[number].astype(np.float32)
    limit = _TOLERANCES[encoder.encoding.dtype] * np.abs(want).max(initial=0)
    if not np.abs(got - want).max(initial=0) <= limit:  # also of NaN
      return f"{path}: record {number} is not what the encoder gives; remove it"
  return ""
