"""Which part of a data set a clip belongs to: a function of a seed and the clip's key alone.

So a clip stays where it is when data is added, whatever the order, the files or the workers.
"""

import dataclasses
import hashlib
import math

_HASH_BYTES = 8
_RANGE = 1 << 8 * _HASH_BYTES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
  """Shares of a data set.

  A key's hash is a number in [0, 1); the parts lie on that line one behind the other. Moving a
  border moves only the clips that it passes over: what was in validation with 5% still is with 10%.

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
    """The names of the parts."""
    return tuple(name for name, _ in self.shares)

  def part_of(self, key: str) -> str:
    """The part of the clips with this key: the clip's id, or what it shares with others."""
    # Half surrogates have no UTF-8 form, but broken ids hold them.
    data = f"{self.seed}\0{key}".encode(errors="surrogatepass")
    place = int.from_bytes(hashlib.blake2b(data, digest_size=_HASH_BYTES).digest()) / _RANGE
    for index, (name, _) in enumerate(self.shares[:-1]):
      if place < _total(self.shares[: index + 1]):
        return name
    return self.shares[-1][0]


def _total(shares: tuple[tuple[str, float], ...]) -> float:
  return math.fsum(share for _, share in shares)
