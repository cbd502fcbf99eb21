"""States of queued resources and of their nodes, as gcloud describes them."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from orchestration.gcloud import GcloudError, call

# States of a queued resource are the API's, and this one, where there is none of that name.
ABSENT = "absent"
ENDED = ("FAILED", "SUSPENDING", "SUSPENDED", "DELETING", ABSENT)  # it never becomes ACTIVE
BOOTING = ("PROVISIONING", "ACTIVE")  # as opposed to waiting in the queue
# States of a node that has lost its machines, but keeps its quota until it is deleted.
DEAD_NODE = ("PREEMPTED", "TERMINATED")


class QueuedResourceError(Exception):
  """A queued resource that is not, or does not become, what was asked for."""


class NodeState(NamedTuple):
  """State and health of a node, as the API names them; health is empty where it is not known."""

  state: str
  health: str
  queued_resource: str  # the one that made it, empty if none

  @property
  def ready(self) -> bool:
    """Tells whether its machines can be used; the health says more of Google's software on them."""
    return self.state == "READY"

  def __str__(self) -> str:
    return f"{self.state}, {self.health}" if self.health else self.state


def describe(*command: str) -> dict[str, Any] | None:
  """Runs a `describe` of gcloud; returns what it shows, None if there is nothing of that name.

  Raises:
    GcloudError: it failed.
    QueuedResourceError: the answer cannot be read.
  """
  try:
    text = call(*command, "--format=json")
  except GcloudError as error:
    if error.not_found:
      return None
    raise
  if not text.strip():
    return None  # nothing is described
  try:
    return json.loads(text)
  except json.JSONDecodeError as error:
    answer = " ".join(text.split())[:80]
    raise QueuedResourceError(
      f"`gcloud {' '.join(command)} --format=json` answered {answer!r}, which is not JSON"
    ) from error


def state_of(description: dict[str, Any] | None) -> str:
  """Returns the state in an answer of `describe`."""
  if description is None:
    return ABSENT
  return description.get("state", {}).get("state", "CREATING")


def node_names(description: dict[str, Any] | None) -> list[str]:
  """Returns the names of the nodes of a queued resource, from an answer of `describe`."""
  names = []
  for spec in (description or {}).get("tpu", {}).get("nodeSpec", []):
    # One name in v2, another in v2alpha1.
    several = spec.get("multisliceParams") or spec.get("multiNodeParams") or {}
    if spec.get("nodeId"):
      names.append(spec["nodeId"])
    elif several:
      prefix = several.get("nodeIdPrefix") or description["name"].rpartition("/")[2]
      names += [f"{prefix}-{number}" for number in range(int(several["nodeCount"]))]
  return list(dict.fromkeys(names))


def text_of(state: str, nodes: dict[str, NodeState]) -> str:
  """Returns the states of a queued resource and of its nodes, for a message."""
  return "; ".join([state, *(f"{name} {node}" for name, node in nodes.items())])


def how_it_ended(description: dict[str, Any] | None) -> str:
  """Returns the state of one that has ended, the reason if there is one, and the remedy."""
  state = state_of(description)
  if state == ABSENT:
    return "absent: it was deleted, or never created"
  details = description["state"]
  reason = details.get("failedData", {}).get("error", {}).get("message", "")
  initiator = details.get("stateInitiator", "")
  reason = reason or {"SERVICE": "by the service", "USER": "by a user"}.get(initiator, "")
  remedy = "" if state == "DELETING" else "; delete it before you request it again"
  return f"{state}{f' ({reason})' if reason else ''}{remedy}"
