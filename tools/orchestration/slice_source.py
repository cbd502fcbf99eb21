"""Source of new slices after a preemption: the queued resource that made the lost ones."""

from __future__ import annotations

import json
from dataclasses import dataclass

from orchestration.console import say
from orchestration.gcloud import GcloudError, call
from orchestration.interrupts import Interrupted
from orchestration.queued_resource import (
  ABSENT,
  BOOT_TIMEOUT,
  QUEUE_TIMEOUT,
  QueuedResource,
  QueuedResourceError,
)
from orchestration.tpu_workers import Place, Worker, node_state

_READY = "READY"
_PASSING = ("CREATING", "STARTING", "RESTARTING", "REPAIRING", "REIMAGING", "UNKNOWN")


@dataclass(frozen=True)
class Wanted:
  """Request for slices; what is empty is taken from the slices that are there."""

  queued_resource: str = ""
  accelerator_type: str = ""
  runtime_version: str = ""
  spot: bool | None = None
  queue_timeout: float = QUEUE_TIMEOUT
  boot_timeout: float = BOOT_TIMEOUT


class SliceSource:
  """The slices of a run: whether they are there, and new ones for those that are not.

  Args:
    prefix: name of the slice, or of several before their numbers.
    poll_seconds: the longest pause between two looks at a queued resource.
  """

  def __init__(self, place: Place, prefix: str, wanted: Wanted, poll_seconds: float = 30.0) -> None:
    self._place = place
    self._prefix = prefix
    self._wanted = wanted
    self._poll = poll_seconds
    self._names: list[str] = []
    self._first: dict[str, object] = {}  # what gcloud says of the first slice

  def watch(self, workers: list[Worker]) -> None:
    """Notes which slices there are."""
    self._names = list(dict.fromkeys(worker.slice_name for worker in workers))

  def learn(self) -> None:
    """Notes what the first slice is, as long as it is there.

    Raises:
      GcloudError: gcloud failed.
      ValueError: its answer is not JSON.
    """
    text = call(
      *("alpha", "compute", "tpus", "tpu-vm", "describe", self._names[0], "--format=json"),
      *self._place.flags,
    )
    try:
      self._first = json.loads(text)
    except ValueError as error:
      raise ValueError(f"gcloud does not describe {self._names[0]} in JSON: {error}") from error

  def check(self) -> None:
    """Sees whether all is known that a new slice needs.

    Raises:
      ValueError: it is not.
    """
    for key, flag in (
      ("acceleratorType", "ACCELERATOR_TYPE"),
      ("runtimeVersion", "RUNTIME_VERSION"),
    ):
      if not self._value(key):
        raise ValueError(f"gcloud does not say the {key} of {self._names[0]}: give --{flag}")

  def _value(self, key: str) -> str:
    given = {
      "acceleratorType": self._wanted.accelerator_type,
      "runtimeVersion": self._wanted.runtime_version,
      "queuedResource": self._wanted.queued_resource,
    }[key]
    return given or str(self._first.get(key, "")).rpartition("/")[2]

  @property
  def _spot(self) -> bool:
    if self._wanted.spot is not None:
      return self._wanted.spot
    scheduling = self._first.get("schedulingConfig")
    known = scheduling if isinstance(scheduling, dict) else {}
    return bool(known.get("spot") or known.get("preemptible"))

  @property
  def _resource(self) -> QueuedResource:
    name = self._value("queuedResource") or self._prefix
    return QueuedResource(name, self._place.project, self._place.zone, self._poll)

  def lost(self) -> str:
    """Says which slices are gone; empty: none is.

    Raises:
      GcloudError: gcloud failed.
    """
    states = {name: node_state(self._place, name) for name in self._names}
    lost = {
      name: state for name, state in states.items() if state != _READY and state not in _PASSING
    }
    return ", ".join(f"{name} is {state}" for name, state in lost.items())

  def recreate(self) -> None:
    """Deletes the slices and makes them anew; returns when their workers can be reached.

    A dead slice keeps its quota until it is deleted. What was asked for and is no longer waited for
    is cancelled, or it would be fulfilled, and cost, when nobody uses it.

    Raises:
      GcloudError, QueuedResourceError: it could not be had.
    """
    resource = self._resource
    self._check_own(resource)
    say(f"deleting {resource.name} and asking for it anew")
    resource.delete()
    for name in self._names:
      resource.delete_node(name)
    several = len(self._names) > 1
    try:
      resource.create(
        self._value("acceleratorType"),
        self._value("runtimeVersion"),
        spot=self._spot,
        node_count=len(self._names),
        **({"node_prefix": self._prefix} if several else {"node_id": self._names[0]}),
      )
      resource.wait(self._wanted.queue_timeout, self._wanted.boot_timeout, cancel_on_timeout=True)
    except (GcloudError, QueuedResourceError, Interrupted):
      self.give_up()
      raise

  def _check_own(self, resource: QueuedResource) -> None:
    """Sees that no slice would be deleted but those of this run.

    Raises:
      QueuedResourceError: the queued resource has others.
    """
    others = sorted(
      name
      for name, node in resource.nodes().items()
      if name not in self._names and node.state != ABSENT
    )
    if others:
      raise QueuedResourceError(
        f"queued resource {resource.name} also holds {', '.join(others)}, which this run does not"
        " use: it is left as it is; a slice that may be made anew needs one of its own"
      )

  def give_up(self) -> None:
    """Cancels the queued resource, with what is left of its slices."""
    try:
      self._check_own(self._resource)
      say(f"giving up: deleting the queued resource {self._resource.name}")
      self._resource.delete()
    except (GcloudError, QueuedResourceError) as error:
      say(f"{error}; delete {self._resource.name} yourself, or it goes on to cost")
