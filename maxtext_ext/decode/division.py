"""Division of clips among the output shards of a decode: by id, whatever the number of hosts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

MOST_SHARDS = 99_999  # their names have five digits


@dataclass(frozen=True, kw_only=True, eq=False)
class Division:
  """Clips of each output shard.

  Clips stand in the order of the digests of their ids, and each shard takes as many of them as the
  next or one more. So the division depends on the ids alone, not on the order in which a source
  lists them, and neighbours in the source, which are often of one recording, are spread.

  Attributes:
    order: int64 [N], places in the source.
    shards: their number.
    digest: of all ids; another set of ids has another one.
  """

  order: np.ndarray
  shards: int
  digest: str

  @classmethod
  def of(cls, ids: Sequence[str], clips_per_shard: int) -> Self:
    """Divides clips, at least one.

    Args:
      ids: of the clips, by place in the source. Clips of equal ids are told apart by their place.
      clips_per_shard: at most so many, unless there would be more than MOST_SHARDS.
    """
    assert ids
    keys = [
      hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
      for name in ids
    ]
    order = sorted(range(len(ids)), key=keys.__getitem__)
    digest = hashlib.blake2b(b"".join(keys[place] for place in order), digest_size=16)
    return cls(
      order=np.array(order, np.int64),
      shards=min(-(-len(ids) // clips_per_shard), MOST_SHARDS),
      digest=digest.hexdigest(),
    )

  def __len__(self) -> int:
    return len(self.order)

  def places(self, shard: int) -> list[int]:
    """Returns the clips of a shard by their places in the source, in the source's order."""
    first, end = (len(self) * number // self.shards for number in (shard, shard + 1))
    return sorted(self.order[first:end].tolist())


def share_of_host(shards: Sequence[int], host: int, hosts: int) -> list[int]:
  """Returns the shards that one of the processes of a job decodes."""
  return list(shards[host::hosts])
