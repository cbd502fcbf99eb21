#!/usr/bin/env python3
"""Queued resources of Cloud TPU: request a slice, wait for it, look at it, delete it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from orchestration import gcloud
from orchestration.console import say
from orchestration.gcloud import GcloudError
from orchestration.tpu_states import (
  ABSENT,
  BOOTING,
  DEAD_NODE,
  ENDED,
  NodeState,
  QueuedResourceError,
  describe,
  how_it_ended,
  node_names,
  state_of,
  text_of,
)

QUEUE_TIMEOUT = 24 * 3600.0  # seconds
BOOT_TIMEOUT = 3600.0  # seconds
DELETE_TIMEOUT = 1800.0  # seconds
CALL_TIMEOUT = 600.0  # seconds for a create or delete, which return when the service has finished
REPORT_EVERY = 300.0  # seconds between two lines about the same state

# The alpha track, like MaxText: only there are --best-effort and --autocheckpoint-enabled.
COMMAND = ("alpha", "compute", "tpus", "queued-resources")
NODE_COMMAND = ("compute", "tpus", "tpu-vm")


class SliceLost(QueuedResourceError):
  """A queued resource whose slices were there, or about to be, and were taken away."""


class QueuedResource:
  """One queued resource and its nodes, which are TPU VMs, one a slice."""

  def __init__(
    self,
    name: str,
    project: str,
    zone: str,
    poll_seconds: float = 30.0,  # the longest pause between two looks at it
    call_timeout: float = CALL_TIMEOUT,
  ) -> None:
    self.name = name
    self.place = (f"--project={project}", f"--zone={zone}")
    self.poll_seconds = poll_seconds
    self.call_timeout = call_timeout

  def create_command(
    self,
    accelerator_type: str,
    runtime_version: str,
    *,
    spot: bool = False,
    reserved: bool = False,
    node_count: int = 1,
    node_prefix: str = "",
    node_id: str = "",
    metadata_from_file: str = "",
    valid_until_secs: int = 0,
    extra: Sequence[str] = (),
  ) -> list[str]:
    """Returns the arguments of gcloud by which `create` makes the request."""
    if spot and reserved:
      raise ValueError("a queued resource is either spot or reserved, not both: drop one of them")
    command = [
      *(*COMMAND, "create", self.name, *self.place),
      *(f"--accelerator-type={accelerator_type}", f"--runtime-version={runtime_version}"),
    ]
    if node_count > 1:
      command += [f"--node-count={node_count}", f"--node-prefix={node_prefix or self.name}"]
    else:
      command += [f"--node-id={node_id or self.name}"]
    command += ["--spot"] * spot + ["--reserved"] * reserved
    if valid_until_secs:
      command += [f"--valid-until-duration={valid_until_secs}s"]
    if metadata_from_file:
      command += [f"--metadata-from-file={metadata_from_file}"]
    return [*command, *extra]

  def delete_command(self, force: bool = True) -> list[str]:
    """Returns the arguments of gcloud by which `delete` makes the request."""
    return [*COMMAND, "delete", self.name, *self.place, "--quiet", *["--force"] * force]

  def describe_command(self) -> list[str]:
    """Returns the arguments of gcloud by which `describe` asks."""
    return [*COMMAND, "describe", self.name, *self.place]

  def create(self, accelerator_type: str, runtime_version: str, **options: Any) -> None:
    """Requests a slice, or several; returns when the request is in the queue.

    Args:
      accelerator_type: such as v4-32.
      runtime_version: such as tpu-ubuntu2204-base.
      **options: those of `create_command`. `valid_until_secs` lets the service itself withdraw the
        request after that time, should it still be in the queue.

    Raises:
      QueuedResourceError: there is one of this name.
      GcloudError: the request was refused, or every attempt failed.
    """
    command = self.create_command(accelerator_type, runtime_version, **options)
    state = self.state()
    if state != ABSENT:
      remedy = "delete it first" if state in ENDED else "use it, delete it, or take another name"
      raise QueuedResourceError(f"queued resource {self.name} exists, {state}: {remedy}")
    for attempt in range(gcloud.ATTEMPTS):
      try:
        gcloud.call(*command, timeout=self.call_timeout, attempts=1)
        return
      except GcloudError as error:
        # An attempt without an answer may have gone through, at once or later.
        if error.already_exists and attempt > 0:
          self._wait_until_visible()
          return
        if error.permanent:
          raise
        say(f"{error}; looking whether {self.name} was created")
        time.sleep(gcloud.pause(attempt))
        if self._exists():
          return
        if attempt == gcloud.ATTEMPTS - 1:
          say(f"{self.name} may still be created: look later, and delete it if it is")
          raise

  def _wait_until_visible(self) -> None:
    for attempt in range(gcloud.ATTEMPTS):
      if self._exists():
        return
      time.sleep(gcloud.pause(attempt))

  def _exists(self) -> bool:
    try:
      return self.state() != ABSENT
    except GcloudError as error:
      if error.permanent:
        raise
      return False  # not known: the next attempt to create it will tell

  def describe(self) -> dict[str, Any] | None:
    """Returns what the API says of it, None if it does not exist."""
    return describe(*self.describe_command())

  def state(self) -> str:
    """Returns its state, ABSENT if it does not exist."""
    return state_of(self.describe())

  def nodes(self) -> dict[str, NodeState]:
    """Returns the states of its nodes by their names."""
    return {name: self.node_state(name) for name in node_names(self.describe())}

  def node_state(self, name: str) -> NodeState:
    """Returns state and health of a node, ABSENT if it does not exist."""
    node = describe(*NODE_COMMAND, "describe", name, *self.place)
    if node is None:
      return NodeState(ABSENT, "", "")
    owner = node.get("queuedResource", "").rpartition("/")[2]
    return NodeState(node.get("state", "UNKNOWN"), node.get("health", ""), owner)

  def delete_node(self, name: str) -> None:
    """Deletes a node; returns when it is gone, also if it was before."""
    try:
      gcloud.call(
        *(*NODE_COMMAND, "delete", name, *self.place, "--quiet"), timeout=self.call_timeout
      )
    except GcloudError as error:
      if not error.not_found:
        raise

  def wait(
    self,
    queue_timeout: float = QUEUE_TIMEOUT,
    boot_timeout: float = BOOT_TIMEOUT,
    cancel_on_timeout: bool = False,
  ) -> None:
    """Waits until it is ACTIVE and its nodes are READY.

    Args:
      queue_timeout: seconds that it may be in the queue.
      boot_timeout: seconds that its machines may take from then on.
      cancel_on_timeout: delete it when a limit has passed; otherwise it may be fulfilled, and cost,
        when nobody waits for it any more.

    Raises:
      QueuedResourceError: a limit has passed, or its state shows that it never becomes ACTIVE.
      SliceLost: its slices were taken away again.
      GcloudError: it cannot be read, and another attempt would not change that.
    """
    limits = {"queue": queue_timeout, "boot": boot_timeout}
    spent = dict.fromkeys(limits, 0.0)
    phase, shown, shown_at, pause = "queue", "", 0.0, min(2.0, self.poll_seconds)
    while True:
      looked_at = time.monotonic()
      try:
        description = self.describe()
        state = state_of(description)
        nodes = self.nodes() if state == "ACTIVE" else {}
      except GcloudError as error:
        if error.permanent:
          raise
        seen = f"not readable ({error})"
      else:
        seen = text_of(state, nodes)
        if state == "ACTIVE" and all(node.ready for node in nodes.values()):
          say(f"{self.name}: {seen}")
          return
        self._check(description, nodes, DEAD_NODE)
        phase = "boot" if state in BOOTING else "queue"
      if spent[phase] >= limits[phase]:
        break
      if seen != shown or looked_at - shown_at >= REPORT_EVERY:
        shown, shown_at = seen, looked_at
        say(f"{self.name}: {seen}, {duration(spent[phase])} of at most {duration(limits[phase])}")
      time.sleep(min(pause, max(0.05, limits[phase] - spent[phase])))
      pause = min(pause * 1.5, self.poll_seconds)
      spent[phase] += time.monotonic() - looked_at
    self._give_up(phase, limits[phase], cancel_on_timeout)

  def check(self) -> None:
    """Checks that its slices are still there, once `wait` has returned.

    Raises:
      SliceLost: they were taken away.
      QueuedResourceError: it was deleted.
      GcloudError: it cannot be read.
    """
    description = self.describe()
    nodes = {name: self.node_state(name) for name in node_names(description)}
    self._check(description, nodes, (*DEAD_NODE, ABSENT))

  def _check(
    self, description: dict[str, Any] | None, nodes: dict[str, NodeState], dead: Sequence[str]
  ) -> None:
    """Raises an error if it has ended, or a node is in one of the `dead` states."""
    state = state_of(description)
    if state in ENDED:
      kind = SliceLost if state in ("SUSPENDING", "SUSPENDED") else QueuedResourceError
      raise kind(f"queued resource {self.name} is {how_it_ended(description)}")
    lost = [name for name, node in nodes.items() if node.state in dead]
    if lost:
      raise SliceLost(
        f"queued resource {self.name} is {text_of(state, nodes)}: {', '.join(lost)} was lost; "
        "delete it"
      )

  def _give_up(self, phase: str, limit: float, cancel: bool) -> None:
    """Ends a wait whose limit has passed, unless the nodes turn out to be ready."""
    nodes = self.nodes()
    # The state may lag behind, and a slice that works must not be thrown away.
    if nodes and all(node.ready for node in nodes.values()):
      say(f"{self.name}: its nodes are READY")
      return
    seen = text_of(
      self.state(), {name: node for name, node in nodes.items() if node.state != ABSENT}
    )
    if cancel:
      self.delete()
      remedy = "it was deleted"
    else:
      remedy = "it may still be fulfilled, and cost: wait again, or delete it"
    where = "in the queue" if phase == "queue" else "starting its machines"
    raise QueuedResourceError(
      f"queued resource {self.name} was {seen} after {duration(limit)} {where}; {remedy}"
    )

  def delete(self, force: bool = True, timeout: float = DELETE_TIMEOUT) -> None:
    """Deletes it and its nodes; returns when they are gone, also if they were before.

    Nodes that were preempted go first: they hold their quota until they are deleted.

    Args:
      force: delete it with its nodes; otherwise only if it has none.
      timeout: seconds until it must be gone.

    Raises:
      QueuedResourceError: it is still there after `timeout`, or has nodes and `force` is off.
      GcloudError: the request was refused.
    """
    end = time.monotonic() + timeout
    nodes = {self.name}
    pause = min(1.0, self.poll_seconds)
    while True:
      seen = ""
      try:
        description = self.describe()
        seen = state_of(description)
        nodes.update(node_names(description))
        left = force and self._delete_nodes(nodes, seen == ABSENT)
        if seen == ABSENT and not left:
          return
        if seen not in (ABSENT, "DELETING"):
          say(f"{self.name}: {seen}, deleting it")
          gcloud.call(*self.delete_command(force), timeout=self.call_timeout, attempts=1)
      except GcloudError as error:
        busy = "FAILED_PRECONDITION" in error.text
        if busy and not force:
          raise QueuedResourceError(
            f"queued resource {self.name} is {seen} and has nodes: delete it with force"
          ) from error
        if error.permanent and not busy and not error.not_found:
          raise
        say(f"{self.name}: {error}")
      if time.monotonic() > end:
        raise QueuedResourceError(
          f"queued resource {self.name} is {seen or 'not readable'} {duration(timeout)} after its "
          "deletion was asked for; delete it again"
        )
      time.sleep(pause)
      pause = min(pause * 1.5, self.poll_seconds)

  def _delete_nodes(self, names: set[str], living: bool) -> bool:
    """Deletes nodes that it made: dead ones, or also the living; returns whether there were any."""
    found = False
    for name in sorted(names):
      node = self.node_state(name)
      if node.queued_resource == self.name and (living or node.state in DEAD_NODE):
        say(f"{name}: {node}, deleting it")
        self.delete_node(name)
        found = True
    return found


def duration(seconds: float) -> str:
  """Returns a length of time for a message.

  >>> duration(0.5), duration(90), duration(3600), duration(86400)
  ('0.5 s', '90 s', '60 min', '24.0 h')
  """
  if seconds < 120:
    return f"{seconds:.3g} s"
  return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
  from orchestration.queued_resource_command import main

  sys.exit(main())
