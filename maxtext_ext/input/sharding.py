"""Sharding of an endless sequence of elements among hosts, whose number may change.

Of H hosts, host h reads the elements h, h + H, h + 2H, ..., so over all hosts each is read once.
Hosts need not be synchronous. When a run resumes with other hosts, they first divide what the old
ones had not finished, then continue from the position of the fastest of them.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import SupportsIndex

_ENDLESS = 2**62  # elements; a million a second for longer than there have been people


@dataclasses.dataclass(frozen=True)
class HostShard:
  """Elements that one host reads: `first`, then `next`, `next + stride`, ... below `end`.

  Can be the source of a grain dataset.
  """

  first: tuple[int, ...]
  next: int
  stride: int
  end: int = _ENDLESS

  @classmethod
  def of_host(cls, host: int, hosts: int) -> "HostShard":
    """Returns a host's shard of the whole sequence."""
    return cls((), host, hosts)

  def __len__(self) -> int:
    return len(self.first) + len(range(self.next, self.end, self.stride))

  def __getitem__(self, index: SupportsIndex) -> int:
    index = index.__index__()
    if index < len(self.first):
      return self.first[index]
    return self.next + (index - len(self.first)) * self.stride

  def after(self, count: int) -> "HostShard":
    """Returns the rest of the shard after `count` elements."""
    more = max(0, count - len(self.first))
    return dataclasses.replace(self, first=self.first[count:], next=self.next + more * self.stride)


def reshard(
  shares: Sequence[HostShard], waiting: Iterable[int], host: int, hosts: int
) -> HostShard:
  """Returns the shard of a host of `hosts`, so that no element is lost or read twice.

  Args:
    shares: what each of the old hosts has still to read, in their order.
    waiting: elements that old hosts have read and not used.
    host: of the new ones.
    hosts: number of the new ones.
  """
  foremost = max(share.next for share in shares)
  left = list(waiting)
  for share in shares:
    left += [*share.first, *range(share.next, foremost, share.stride)]
  left.sort()
  return HostShard(tuple(left[host::hosts]), foremost + host, hosts)
