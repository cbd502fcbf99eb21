"""Position of one host in the input of a run, small and JSON-serializable."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

from maxtext_ext.input.drops import DropCounter
from maxtext_ext.input.sharding import HostShard, reshard

_FORMAT = 2  # of the JSON; 1 counted the places of each host apart


@dataclasses.dataclass(frozen=True, kw_only=True)
class Position:
  """Position of a host after a batch.

  Attributes:
    host, hosts: index and number of hosts.
    step: batches so far.
    first: elements that it reads next, before it continues at `next`; see `HostShard`.
    next: first unread one of its regular elements.
    waiting: elements that were read and are in no batch yet, the oldest first.
    tally: state of the counts.
    identity: values that must be unchanged when the run resumes from here.
  """

  host: int
  hosts: int
  step: int
  first: tuple[int, ...]
  next: int
  waiting: tuple[int, ...]
  tally: dict[str, Any]
  identity: dict[str, int]

  def to_json(self) -> dict[str, Any]:
    """Returns it as JSON values."""
    values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    return {
      "format": _FORMAT,
      **{name: list(v) if isinstance(v, tuple) else v for name, v in values.items()},
    }

  @classmethod
  def from_json(cls, state: dict[str, Any]) -> Self:
    """Parses what `to_json` returned.

    Raises:
      ValueError: the position was written in another format.
    """
    values = dict(state)
    if (found := values.pop("format", 1)) != _FORMAT:
      raise ValueError(
        f"the input position of the checkpoint has format {found}, this version reads {_FORMAT}: "
        "go on with the version that wrote it, or start a new run from its weights with "
        "load_parameters_path"
      )
    fields: dict[str, Any] = {
      name: tuple(v) if isinstance(v, list) else v for name, v in values.items()
    }
    return cls(**fields)

  def require_host(self, host: int, hosts: int) -> None:
    """Raises ValueError unless the position is of this host of so many."""
    if (self.host, self.hosts) != (host, hosts):
      raise ValueError(
        f"the position is of host {self.host} of {self.hosts}, this is host {host} of {hosts}; "
        "give the positions of all hosts to `resume`"
      )

  def require_same(self, identity: dict[str, int]) -> None:
    """Raises ValueError unless data and packing are those of the position."""
    then = self.identity
    changed = [
      f"{name} {then.get(name)} -> {identity.get(name)}"
      for name in sorted(then.keys() | identity.keys())
      if then.get(name) != identity.get(name)
    ]
    if changed:
      raise ValueError(
        f"the input position of the checkpoint is of other data or packing ({', '.join(changed)}); "
        "restore the old values, or start a new run from the checkpoint's weights"
      )


def for_planning_host(positions: Sequence[Position], host: int, hosts: int) -> Position:
  """Returns the position of a host where every host plans all batches: that of any host.

  The counts of all go to the first.

  Raises:
    ValueError: the positions are not those of all hosts at one step.
  """
  _require_all(positions)
  if len(positions) == hosts:
    return positions[host]
  tally = DropCounter.sum_states(p.tally for p in positions if not host)
  return dataclasses.replace(positions[0], host=host, hosts=hosts, tally=tally)


def for_host(positions: Sequence[Position], host: int, hosts: int) -> Position:
  """Returns the position of a host, from those of all hosts at the same step, in their order.

  With the same number of hosts, each continues unchanged. With another number, they first divide
  what was read and not used, or not read by the slower hosts: nothing is lost, and nothing seen
  twice. The counts of all go to the first.

  Raises:
    ValueError: the positions are not those of all hosts at one step.
  """
  _require_all(positions)
  count = len(positions)
  if count == hosts:
    return positions[host]
  shares = [HostShard(p.first, p.next, count) for p in positions]
  waiting = [element for p in positions for element in p.waiting]
  share = reshard(shares, waiting, host, hosts)
  tally = DropCounter.sum_states(p.tally for p in positions if not host)
  tally["read"] -= 0 if host else len(waiting)  # they will be counted again
  return dataclasses.replace(
    positions[0],
    host=host,
    hosts=hosts,
    first=share.first,
    next=share.next,
    waiting=(),
    tally=tally,
  )


def _require_all(positions: Sequence[Position]) -> None:
  count = len(positions)
  got = [(p.host, p.hosts, p.step) for p in positions]
  if not count or got != [(h, count, positions[0].step) for h in range(count)]:
    raise ValueError(
      f"input positions of (host, hosts, step) {got}, expected one of every host at one step; "
      "the checkpoint is damaged: go on from an older one"
    )
