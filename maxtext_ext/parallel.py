"""Transfers between hosts and mesh: rows of batches, and strings."""

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding


def to_device(batch: dict[str, np.ndarray], placement: NamedSharding) -> dict[str, jax.Array]:
  """Places a host's rows as its part of the global batch."""
  return {
    key: jax.make_array_from_process_local_data(placement, value) for key, value in batch.items()
  }


def local_rows(array: jax.Array) -> np.ndarray:
  """Returns this host's rows of a global array in order; the inverse of `to_device`."""
  if array.is_fully_addressable:
    return np.asarray(array)
  rows = {shard.index[0].start or 0: np.asarray(shard.data) for shard in array.addressable_shards}
  return np.concatenate([rows[start] for start in sorted(rows)])


def gather_texts(text: str) -> list[str]:
  """Gathers one string of every host, in their order, on every host."""
  if jax.process_count() == 1:
    return [text]
  data = np.frombuffer(text.encode(), np.uint8)
  lengths = multihost_utils.process_allgather(np.asarray(len(data)))
  padded = np.zeros(int(lengths.max()), np.uint8)
  padded[: len(data)] = data
  rows = multihost_utils.process_allgather(padded)
  return [bytes(row[:length]).decode() for row, length in zip(rows, lengths, strict=True)]


def largest_of_hosts(values: np.ndarray) -> np.ndarray:
  """Returns the largest of every value over all hosts, on every host."""
  if jax.process_count() == 1:
    return values
  return np.asarray(multihost_utils.process_allgather(values)).max(axis=0)
