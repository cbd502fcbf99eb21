"""`gcloud compute tpus queued-resources` of the stand-in, and the machines that it starts.

Its part of the state is `queued`, by name, and `queue`, which says what happens:

  states   what `describe` answers, one after the other; the last one stays
  reason   why it is FAILED
  nodes    states of nodes by name; READY where nothing is said

A fault of these commands (Cloud.add_fault with the verb "queued-resources create", ...) may have
`after=True`, so that the call has its effect before it fails, and `hidden=N`, so that N calls of
`describe` do not see it yet.
"""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from standins.cloud import Cloud
from standins.gcloud_tpus import carry_out, split_flags

STATES = ["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
HERE = Path(__file__).resolve().parent


class Refused(Exception):
  """An answer of the service that is an error."""


def plan(cloud: Cloud, **settings: Any) -> None:
  """Says what happens to queued resources from now on: see `queue` above."""
  with cloud.state() as state:
    state["queue"] = settings


def queued_resources(cloud: Cloud, verb: str, words: list[str]) -> tuple[int, str]:
  """`gcloud compute tpus queued-resources VERB`; returns exit status and error text."""
  names, flags = split_flags(words)
  fault = cloud.take_fault(f"queued-resources {verb}", **flags) or {}
  if not fault.get("after"):
    carry_out(fault)
  try:
    if verb == "create":
      create(cloud, names[0], flags, fault.get("hidden", 0))
    elif verb == "describe":
      describe(cloud, names[0], flags)
    elif verb == "delete":
      delete(cloud, names[0], flags)
    elif verb == "list":
      list_all(cloud, flags)
    else:
      return 2, f"Invalid choice: '{verb}'."
  except Refused as error:
    return 1, str(error)
  if fault.get("after"):
    carry_out(fault)
  return 0, ""


def full_name(flags: dict[str, str], name: str) -> str:
  """Returns the name as the API gives it."""
  return f"projects/{flags['project']}/locations/{flags['zone']}/queuedResources/{name}"


def create(cloud: Cloud, name: str, flags: dict[str, str], hidden: int) -> None:
  """Puts a request into the queue."""
  for needed in ("accelerator-type", "runtime-version", "project", "zone"):
    if needed not in flags:
      raise Refused(f"argument --{needed}: Must be specified.")
  spec: dict[str, Any] = {
    "parent": f"projects/{flags['project']}/locations/{flags['zone']}",
    "node": {
      "acceleratorType": flags["accelerator-type"],
      "runtimeVersion": flags["runtime-version"],
      "schedulingConfig": {"spot": True} if "spot" in flags else {},
    },
  }
  if "node-id" in flags:
    spec["nodeId"] = flags["node-id"]
  else:
    prefix = flags.get("node-prefix", name)
    spec["multiNodeParams"] = {"nodeCount": int(flags["node-count"]), "nodeIdPrefix": prefix}
  key, _, file = flags.get("metadata-from-file", "").partition("=")
  with cloud.state() as state:
    if name in state["queued"]:
      raise Refused(f"ALREADY_EXISTS: Resource '{full_name(flags, name)}' already exists")
    state["queued"][name] = {
      "name": full_name(flags, name),
      "createTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
      "nodeSpec": [spec],
      "state": "ACCEPTED",
      "ahead": list(state.get("queue", {}).get("states", STATES)),
      "hidden": hidden,
      "script": Path(file).read_text() if key == "startup-script" else "",
    }
  print(f"Created queued resource [{name}].")


def describe(cloud: Cloud, name: str, flags: dict[str, str]) -> None:
  """Shows a request, which goes on to its next state."""
  with cloud.state() as state:
    request = state["queued"].get(name)
    if request and request["hidden"]:
      request["hidden"] -= 1
      request = None
  if request is None:
    raise Refused(f"NOT_FOUND: Resource '{full_name(flags, name)}' was not found")
  shown = answer(cloud, advance(cloud, name))
  if flags.get("format") == "value(state.state)":
    print(shown["state"]["state"])
  elif flags.get("format") == "json":
    print(json.dumps(shown, indent=2))
  else:
    raise Refused(f"the stand-in has no format {flags.get('format')!r}")


def answer(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
  """Returns a request as the API shows it."""
  details: dict[str, Any] = {"state": request["state"]}
  if request["state"] == "FAILED":
    with cloud.state() as state:
      reason = state.get("queue", {}).get("reason", "no capacity")
    details["failedData"] = {"error": {"code": 8, "message": reason}}
  shown = {key: request[key] for key in ("name", "createTime")}
  return {**shown, "tpu": {"nodeSpec": request["nodeSpec"]}, "state": details}


def list_all(cloud: Cloud, flags: dict[str, str]) -> None:
  """Shows all requests as a table of names and states."""
  with cloud.state() as state:
    requests = state["queued"]
  print("NAME  STATE")
  for name, request in requests.items():
    if flags.get("filter", "") in name:
      print(f"{name}  {request['state']}")


def advance(cloud: Cloud, name: str) -> dict[str, Any]:
  """Takes a request to its next state; with ACTIVE, its machines start."""
  started = []
  with cloud.state() as state:
    request = state["queued"][name]
    before = request["state"]
    if request["ahead"]:
      request["state"] = request["ahead"].pop(0)
    settings = state.get("queue", {})
    for number, node in enumerate(node_names(name, request)):
      made_now = request["state"] == "ACTIVE" != before
      if made_now and node not in state["nodes"]:
        kind = request["nodeSpec"][0]["node"]
        workers = max(1, int(kind["acceleratorType"].rpartition("-")[2]) // 8)
        state["nodes"][node] = {
          **kind,
          "health": "HEALTHY",
          "workers": workers,
          "number": number,
          "queuedResource": request["name"],
        }
        started += [(node, worker) for worker in range(workers)]
      if node in state["nodes"] and state["nodes"][node].get("queuedResource") == request["name"]:
        made = state["nodes"][node]
        made["state"] = settings.get("nodes", {}).get(node, made.get("state", "READY"))
  for node, worker in started:
    start_machine(cloud, node, worker)
  return request


def node_names(name: str, request: dict[str, Any]) -> list[str]:
  """Returns the names of a request's nodes."""
  spec = request["nodeSpec"][0]
  if "nodeId" in spec:
    return [spec["nodeId"]]
  several = spec["multiNodeParams"]
  return [f"{several['nodeIdPrefix']}-{number}" for number in range(several["nodeCount"])]


def delete(cloud: Cloud, name: str, flags: dict[str, str]) -> None:
  """Deletes a request, and its machines with it."""
  with cloud.state() as state:
    request = state["queued"].get(name)
    if request is None:
      raise Refused(f"NOT_FOUND: Resource '{full_name(flags, name)}' was not found")
    if "force" not in flags and request["state"] not in ("FAILED", "SUSPENDED"):
      raise Refused(
        f"FAILED_PRECONDITION: Cannot delete queued resource {name} in state {request['state']} "
        "without force."
      )
    del state["queued"][name]
    names = [
      node
      for node in node_names(name, request)
      if state["nodes"].get(node, {}).get("queuedResource") == request["name"]
    ]
    gone = {node: state["nodes"].pop(node)["workers"] for node in names}
  print(f"Deleted queued resource [{name}].", flush=True)
  for node, workers in gone.items():
    for worker in range(workers):
      cloud.end_machine(node, worker)
    shutil.rmtree(cloud.folder / node, ignore_errors=True)


def start_machine(cloud: Cloud, node: str, worker: int) -> None:
  """Boots a machine of a node: its startup script runs, in its home instead of `/`."""
  with cloud.state() as state:
    made = state["nodes"][node]
    request = state["queued"][made["queuedResource"].rpartition("/")[2]]
  home = cloud.home(node, worker)
  home.mkdir(parents=True, exist_ok=True)
  lines = {
    "ACCELERATOR_TYPE": made["acceleratorType"],
    "CONSUMER_PROJECT_ID": request["name"].split("/")[1],
    "NODE_ID": node,
    "WORKER_ID": str(worker),
    "ZONE": request["name"].split("/")[3],
  }
  if "multiNodeParams" in request["nodeSpec"][0]:
    lines["MEGASCALE_SLICE_ID"] = str(made["number"])
    lines["MEGASCALE_NUM_SLICES"] = str(request["nodeSpec"][0]["multiNodeParams"]["nodeCount"])
  metadata = cloud.folder / node / f"tpu-env-{worker}"
  metadata.write_text("".join(f"{key}: '{value}'\n" for key, value in lines.items()))
  script = cloud.folder / node / f"startup-script-{worker}"
  script.write_text(request["script"])
  with open(cloud.folder / node / f"startup-{worker}.log", "ab") as log:
    subprocess.Popen(
      ["bash", str(script)],
      cwd=home,
      env={
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "HOME": str(home),
        "PATH": f"{HERE}:{os.environ['PATH']}",
        "STANDIN_METADATA": str(metadata),
      },
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=log,
      start_new_session=True,
    )


def restart_machine(cloud: Cloud, node: str, worker: int, keep_disk: bool = True) -> None:
  """Loses a machine and boots it again, with its disk or with a new one."""
  cloud.end_machine(node, worker)
  if not keep_disk:
    shutil.rmtree(cloud.home(node, worker))
  start_machine(cloud, node, worker)
