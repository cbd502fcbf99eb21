"""Division of a data set into splits by a hash of a seed and each clip's key.

A clip keeps its split when data is added, whatever the order, the files or the workers.
"""

import dataclasses
import hashlib
import math

_HASH_BYTES = 8
_RANGE = 1 << 8 * _HASH_BYTES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
  """Shares of a data set.

  A key's hash is a number in [0, 1), which the splits divide in order. Moving a border moves only
  the clips between its old and its new place: a clip in validation with 5% is there with 10% too.

  Attributes:
    shares: (name, share of the keys) in the order of the line, which add up to 1.
    seed: other seeds cut differently.
  """

  shares: tuple[tuple[str, float], ...] = (("train", 0.95), ("validation", 0.05))
  seed: int = 42

  def __post_init__(self) -> None:
    names = [name for name, _ in self.shares]
    positive = all(share > 0 for _, share in self.shares)
    if not positive or len(set(names)) < len(names) or not math.isclose(_total(self.shares), 1):
      raise ValueError(
        f"shares are {list(self.shares)}, expected different names with shares above 0 that add up "
        "to 1, such as train 0.95 and validation 0.05"
      )

  @property
  def parts(self) -> tuple[str, ...]:
    """Names of the splits."""
    return tuple(name for name, _ in self.shares)

  def part_of(self, key: str) -> str:
    """Returns the split of the clips with this key: an id, a recording or a speaker."""
    # Half surrogates have no UTF-8 form, but broken ids hold them.
    data = f"{self.seed}\0{key}".encode(errors="surrogatepass")
    place = int.from_bytes(hashlib.blake2b(data, digest_size=_HASH_BYTES).digest()) / _RANGE
    for index, (name, _) in enumerate(self.shares[:-1]):
      if place < _total(self.shares[: index + 1]):
        return name
    return self.shares[-1][0]


def _total(shares: tuple[tuple[str, float], ...]) -> float:
  return math.fsum(share for _, share in shares)
