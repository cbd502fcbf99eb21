"""Stand-in for `gcloud compute tpus queued-resources` and for deleting nodes.

The folder STANDINS holds the state: `queued_resources/NAME.json` and `nodes/NAME.json`. The file
`queued_resources.json` beside them says what happens:

  states   what `describe` answers, one after the other; the last one stays
  faults   by action, such as "create": a list, one for each call until it is used up
             {"text": .., "status": 1}   refuses the call
             {"hang": seconds}           does not answer
             "after": true               in either: only after the call has had its effect
             "hidden": n                 and it is seen only after n more calls of describe
  reason   why it is FAILED
  nodes    state of the nodes, by name; READY by default
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(os.environ["STANDINS"])
STATES = ["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
MADE = ("ACTIVE", "SUSPENDING")  # states with nodes


class Refused(Exception):
  """An answer of the service that is an error."""


@contextmanager
def locked():
  ROOT.mkdir(parents=True, exist_ok=True)
  with open(ROOT / "lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def control() -> dict:
  file = ROOT / "queued_resources.json"
  return json.loads(file.read_text()) if file.exists() else {}


def next_fault(action: str) -> dict | None:
  """Takes the next fault of an action off its list."""
  settings = control()
  faults = settings.get("faults", {}).get(action, [])
  if not faults:
    return None
  fault = faults.pop(0)
  (ROOT / "queued_resources.json").write_text(json.dumps(settings))
  return fault


def store(folder: str, name: str, value: dict) -> None:
  file = ROOT / folder / f"{name}.json"
  file.parent.mkdir(parents=True, exist_ok=True)
  file.write_text(json.dumps(value))


def load(folder: str, name: str) -> dict | None:
  file = ROOT / folder / f"{name}.json"
  return json.loads(file.read_text()) if file.exists() else None


def parse(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
  """Splits arguments into positional ones and flags; a flag without value is true."""
  positional = [item for item in arguments if not item.startswith("--")]
  flags = (item[2:].partition("=") for item in arguments if item.startswith("--"))
  return positional, {name: value if equals else "true" for name, equals, value in flags}


def full_name(flags: dict[str, str], collection: str, name: str) -> str:
  return f"projects/{flags['project']}/locations/{flags['zone']}/{collection}/{name}"


def not_found(flags: dict[str, str], collection: str, name: str) -> Refused:
  return Refused(f"NOT_FOUND: Resource '{full_name(flags, collection, name)}' was not found")


def node_names(resource: dict) -> list[str]:
  spec = resource["tpu"]["nodeSpec"][0]
  if "nodeId" in spec:
    return [spec["nodeId"]]
  several = spec["multiNodeParams"]
  return [f"{several['nodeIdPrefix']}-{number}" for number in range(several["nodeCount"])]


def set_state(resource: dict, state: str) -> None:
  resource["state"] = {"state": state}
  if state == "FAILED":
    resource["state"]["failedData"] = {
      "error": {"code": 8, "message": control().get("reason", "no capacity")}
    }
  name = resource["name"].rpartition("/")[2]
  for node in node_names(resource):
    made = load("nodes", node)
    if state in MADE and not made:
      made = {"name": resource["name"].replace("queuedResources", "nodes"), "health": "HEALTHY"}
      made["queuedResource"] = resource["name"]
    if made:
      made["state"] = control().get("nodes", {}).get(node, "READY")
      store("nodes", node, made)
  store("queued_resources", name, resource)


def create(name: str, flags: dict[str, str], hidden: int) -> str:
  if load("queued_resources", name):
    raise Refused(
      f"ALREADY_EXISTS: Resource '{full_name(flags, 'queuedResources', name)}' already exists"
    )
  spec = {
    "parent": f"projects/{flags['project']}/locations/{flags['zone']}",
    "node": {
      "acceleratorType": flags["accelerator-type"],
      "runtimeVersion": flags["runtime-version"],
    },
  }
  if "node-id" in flags:
    spec["nodeId"] = flags["node-id"]
  else:
    prefix = flags.get("node-prefix", name)
    spec["multiNodeParams"] = {"nodeCount": int(flags["node-count"]), "nodeIdPrefix": prefix}
  resource = {
    "name": full_name(flags, "queuedResources", name),
    "createTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    "tpu": {"nodeSpec": [spec]},
    "hidden": hidden,
    "ahead": control().get("states", STATES),
  }
  set_state(resource, "ACCEPTED")
  return f"Created queued resource [{name}]."


def describe(name: str, flags: dict[str, str]) -> str:
  resource = load("queued_resources", name)
  if resource and resource["hidden"]:
    resource["hidden"] -= 1
    store("queued_resources", name, resource)
    resource = None
  if resource is None:
    raise not_found(flags, "queuedResources", name)
  if resource["ahead"]:
    set_state(resource, resource["ahead"].pop(0))
  return answer({key: resource[key] for key in ("name", "createTime", "tpu", "state")}, flags)


def answer(value: dict, flags: dict[str, str]) -> str:
  if flags.get("format") == "json":
    return json.dumps(value, indent=2)
  if flags.get("format") == "value(state.state)":
    return value["state"]["state"]
  raise Refused(f"the stand-in has no format {flags.get('format')!r}")


def delete(name: str, flags: dict[str, str]) -> str:
  resource = load("queued_resources", name)
  if resource is None:
    raise not_found(flags, "queuedResources", name)
  state = resource["state"]["state"]
  if "force" not in flags and state not in ("FAILED", "SUSPENDED"):
    raise Refused(
      f"FAILED_PRECONDITION: Cannot delete queued resource {name} in state {state} without force."
    )
  for node in node_names(resource):
    (ROOT / "nodes" / f"{node}.json").unlink(missing_ok=True)
  (ROOT / "queued_resources" / f"{name}.json").unlink()
  return f"Deleted queued resource [{name}]."


def describe_node(name: str, flags: dict[str, str]) -> str:
  node = load("nodes", name)
  if node is None:
    raise not_found(flags, "nodes", name)
  return answer(node, flags)


def delete_node(name: str, flags: dict[str, str]) -> str:
  if load("nodes", name) is None:
    raise not_found(flags, "nodes", name)
  (ROOT / "nodes" / f"{name}.json").unlink()
  return f"Deleted tpu [{name}]."


ACTIONS = {
  "queued-resources create": create,
  "queued-resources describe": describe,
  "queued-resources delete": delete,
  "tpu-vm describe": describe_node,
  "tpu-vm delete": delete_node,
}


def run(arguments: list[str]) -> int:
  """Answers `gcloud ARGUMENTS`; returns the exit status."""
  words, flags = parse(arguments)
  path, name = words[:-1], words[-1]
  action = " ".join(path[-2:])
  effect = ACTIONS[action]
  command = f"(gcloud.{'.'.join(path)})"
  with locked():
    with open(ROOT / "calls", "a") as calls:
      calls.write(json.dumps(arguments) + "\n")
    fault = next_fault(action) or {}
  try:
    if fault and not fault.get("after"):
      return fail(fault, command)
    with locked():
      options = (fault.get("hidden", 0),) if action == "queued-resources create" else ()
      text = effect(name, flags, *options)
    if fault:
      return fail(fault, command)
  except Refused as error:
    return fail({"text": str(error)}, command)
  print(text)
  return 0


def fail(fault: dict, command: str) -> int:
  if "hang" in fault:
    time.sleep(fault["hang"])
  print(f"ERROR: {command} {fault.get('text', 'UNAVAILABLE: try again')}", file=sys.stderr)
  return fault.get("status", 1)


if __name__ == "__main__":
  sys.exit(run(sys.argv[1:]))
