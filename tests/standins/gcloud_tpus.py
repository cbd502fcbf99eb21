"""`gcloud compute tpus tpu-vm` and `gcloud config get` of the stand-in."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from standins.cloud import Cloud


def split_flags(words: list[str]) -> tuple[list[str], dict[str, str]]:
  """Separates names from flags, which are given as --flag=value, --flag value or --flag."""
  names, flags = [], {}
  rest = iter(words)
  for word in rest:
    if word == "--command":
      flags["command"] = next(rest)
    elif word.startswith("--"):
      key, equal, value = word[2:].partition("=")
      flags[key] = value if equal else "true"
    else:
      names.append(word)
  return names, flags


def error(text: str, status: int = 1) -> int:
  """Says an error as gcloud does."""
  print(f"ERROR: (gcloud.compute.tpus.tpu-vm) {text}", file=sys.stderr)
  return status


def get_setting(cloud: Cloud, name: str) -> int:
  """`gcloud config get`: what the test has put into the state, or nothing."""
  with cloud.state() as state:
    value = state.get("settings", {}).get(name)
  if value is None:
    print("(unset)", file=sys.stderr)
  else:
    print(value)
  return 0


def meet_fault(cloud: Cloud, verb: str, **call: Any) -> dict[str, Any] | None:
  """Meets the fault of this call, if one waits; what is left to do is returned."""
  fault = cloud.take_fault(verb, **call)
  carry_out(fault or {})
  return fault


def carry_out(fault: dict[str, Any]) -> None:
  """Fails, hangs or waits, as a fault says."""
  if not fault:
    return
  if fault["action"] == "fail":
    print(
      fault.get("text", "ERROR: (gcloud) The service is currently unavailable."), file=sys.stderr
    )
    sys.exit(fault.get("status", 1))
  if fault["action"] == "hang":
    time.sleep(3600)
  if fault["action"] == "delay":
    time.sleep(fault["seconds"])


def tpu_vm(cloud: Cloud, verb: str, words: list[str]) -> int:
  """`gcloud compute tpus tpu-vm VERB`."""
  names, flags = split_flags(words)
  if verb == "list":
    meet_fault(cloud, verb)
    return list_nodes(cloud, flags)
  if verb in ("describe", "delete"):
    meet_fault(cloud, verb, slice=names[0])
    return {"describe": describe, "delete": delete}[verb](cloud, names[0], flags)
  if verb == "ssh":
    return ssh(cloud, names[0], int(flags.get("worker", "0")), flags["command"])
  if verb == "scp":
    return scp(cloud, *names, int(flags.get("worker", "0")))
  return error(f"Invalid choice: '{verb}'.", 2)


def list_nodes(cloud: Cloud, flags: dict[str, str]) -> int:
  """The slices whose name fits the filter, as CSV."""
  pattern = flags.get("filter", "name~").partition("~")[2]
  with cloud.state() as state:
    nodes = state["nodes"]
  print("name,accelerator_type")
  for name, node in nodes.items():
    if re.search(pattern, name):
      print(f"{name},{node['acceleratorType']}")
  return 0


def describe(cloud: Cloud, name: str, flags: dict[str, str]) -> int:
  """One slice, in the format that is asked for."""
  with cloud.state() as state:
    node = state["nodes"].get(name)
  if node is None:
    return not_found(name, flags)
  text = flags.get("format", "yaml")
  if "ipAddress" in text:
    print("\n".join(f"10.0.0.{number + 2}" for number in range(node["workers"])))
  elif text.startswith("value("):
    print("\t".join(str(node.get(key, "")) for key in text[6:-1].split(",")))
  else:
    shown = {key: value for key, value in node.items() if key != "workers"}
    shown["name"] = f"projects/{flags.get('project')}/locations/{flags.get('zone')}/nodes/{name}"
    shown["networkEndpoints"] = [
      {"ipAddress": f"10.0.0.{number + 2}", "port": 8470} for number in range(node["workers"])
    ]
    if text == "json":
      print(json.dumps(shown, indent=2))
    else:
      print("\n".join(f"{key}: {value}" for key, value in shown.items()))
  return 0


def delete(cloud: Cloud, name: str, flags: dict[str, str]) -> int:
  """Ends a slice: its processes and its disks."""
  with cloud.state() as state:
    node = state["nodes"].pop(name, None)
  if node is None:
    return not_found(name, flags)
  for worker in range(node["workers"]):
    cloud.end_machine(name, worker)
  shutil.rmtree(cloud.folder / name, ignore_errors=True)
  print(f"Deleted tpu [{name}].", file=sys.stderr)
  return 0


def not_found(name: str, flags: dict[str, str]) -> int:
  """Says that there is no such slice."""
  path = f"projects/{flags.get('project')}/locations/{flags.get('zone')}/nodes/{name}"
  return error(f"NOT_FOUND: Resource '{path}' was not found")


def reachable(cloud: Cloud, name: str, worker: int) -> bool:
  """Returns whether a worker answers; says it if not."""
  with cloud.state() as state:
    node = state["nodes"].get(name)
  if node is None:
    error(f"NOT_FOUND: Resource 'nodes/{name}' was not found")
  elif worker >= node["workers"]:
    error(f"Invalid value for [--worker]: {name} has {node['workers']} workers.")
  elif node["state"] != "READY":
    error(f"TPU VM {name} is in state {node['state']}, expected READY")
  else:
    return True
  return False


def inject_key(cloud: Cloud) -> None:
  """Makes the ssh key, as the first call does; a second at the same time fails, as really."""
  with cloud.state() as state:
    before = state.get("key")
    state["key"] = before or "injecting"
  if before == "injecting":
    sys.exit(error("HTTPError 409: There was a conflict setting the project's metadata."))
  if before is None:
    time.sleep(0.3)
    with cloud.state() as state:
      state["key"] = "there"


def ssh(cloud: Cloud, name: str, worker: int, command: str) -> int:
  """Runs a command on a worker; a lost connection leaves the command running.

  Like gcloud, it runs the command again when the connection was lost.
  """
  fault = meet_fault(cloud, "ssh", slice=name, worker=worker, command=command)
  inject_key(cloud)
  if not reachable(cloud, name, worker):
    return 1
  print(f"SSH: Attempting to connect to worker {worker}...", file=sys.stderr)
  home = cloud.home(name, worker)
  remote = subprocess.Popen(
    ["bash", "-c", command],
    cwd=home,
    env={**os.environ, "HOME": str(home), "STANDIN_WORKER": f"{name}/{worker}"},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    start_new_session=True,
  )
  if fault and fault["action"] == "drop":
    again = (sys.executable, [sys.executable, *sys.argv])
    threading.Timer(fault["seconds"], os.execv, again).start()  # this closes the pipes
  copies = [
    threading.Thread(target=copy, args=(source, target), daemon=True)
    for source, target in ((remote.stdout, 1), (remote.stderr, 2))
  ]
  for thread in copies:
    thread.start()
  if fault and fault["action"] == "deaf":
    remote.stdin.close()
  else:
    threading.Thread(target=copy, args=(None, remote.stdin.fileno()), daemon=True).start()
  for thread in copies:
    thread.join()
  status = remote.wait()
  os._exit(status if status >= 0 else 128 - status)


def copy(source: Any, target: int) -> None:
  """Copies from a pipe (None: standard input) to its end."""
  try:
    while data := os.read(0 if source is None else source.fileno(), 65536):
      view = memoryview(data)
      while view:
        view = view[os.write(target, view) :]
  except OSError:
    if source is not None:
      os._exit(255)  # nobody reads it any more
  if source is None:
    os.close(target)


def scp(cloud: Cloud, source: str, target: str, worker: int) -> int:
  """Copies a file into a worker's home."""
  name, _, path = target.partition(":")
  meet_fault(cloud, "scp", slice=name, worker=worker)
  inject_key(cloud)
  if not reachable(cloud, name, worker):
    return 1
  if not Path(source).is_file():
    return error(f"{source}: No such file or directory")
  shutil.copy(source, cloud.home(name, worker) / path.replace("~/", "", 1))
  return 0
