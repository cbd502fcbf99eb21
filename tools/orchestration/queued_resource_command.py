"""Command line of queued_resource.py."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import Any

from orchestration.console import say
from orchestration.flags import boolean, project_and_zone
from orchestration.gcloud import GcloudError
from orchestration.queued_resource import BOOT_TIMEOUT, QUEUE_TIMEOUT, QueuedResource
from orchestration.tpu_states import ABSENT, ENDED, QueuedResourceError, how_it_ended, state_of


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command line."""
  top = argparse.ArgumentParser(
    prog="queued_resource.py",
    description="Requests a TPU slice through a queued resource, and takes care of it.",
    allow_abbrev=False,
  )
  commands = top.add_subparsers(dest="action", required=True, metavar="ACTION")
  helps = {
    "create": "put a request into the queue",
    "wait": "wait until it is ACTIVE and its nodes are READY",
    "describe": "print its state and that of its nodes",
    "delete": "delete it with its nodes, and wait until they are gone",
  }
  for action, text in helps.items():
    command = commands.add_parser(action, help=text, description=text, allow_abbrev=False)
    command.add_argument("name", metavar="NAME", help="name of the queued resource")
    command.add_argument("--PROJECT", default="", help="default: that of the gcloud configuration")
    command.add_argument("--ZONE", default="", help="default: that of the gcloud configuration")
    if action == "create":
      _add_create_flags(command)
    if action == "wait":
      _add_wait_flags(command)
    if action == "delete":
      _boolean_flag(command, "--FORCE", True, "delete its nodes too")
    _boolean_flag(command, "--DRY_RUN", False, "only print the gcloud command")
  return top


def _boolean_flag(command: argparse.ArgumentParser, name: str, default: bool, text: str) -> None:
  command.add_argument(
    name, type=boolean, nargs="?", const=True, default=default, help=f"{text} (default: {default})"
  )


def _add_create_flags(command: argparse.ArgumentParser) -> None:
  command.add_argument("--ACCELERATOR_TYPE", default="v4-32", help="default: %(default)s")
  command.add_argument(
    "--RUNTIME_VERSION", default="tpu-ubuntu2204-base", help="default: %(default)s"
  )
  _boolean_flag(command, "--SPOT", False, "cheaper, and may be preempted")
  _boolean_flag(command, "--RESERVED", False, "from a reservation")
  command.add_argument("--NODE_COUNT", type=int, default=1, help="slices (default: 1)")
  command.add_argument("--NODE_PREFIX", default="", help="of several slices; default: NAME")
  command.add_argument("--NODE_ID", default="", help="of a single slice; default: NAME")
  command.add_argument(
    "--QUEUE_TIMEOUT_SECS",
    type=int,
    default=0,
    help="the service withdraws the request after this time in the queue (default: never)",
  )
  command.add_argument("--METADATA_FROM_FILE", default="", help="such as startup-script=FILE")
  command.add_argument("--EXTRA_ARGS", default="", help="more arguments for gcloud, quoted")


def _add_wait_flags(command: argparse.ArgumentParser) -> None:
  command.add_argument(
    "--QUEUE_TIMEOUT_SECS", type=float, default=QUEUE_TIMEOUT, help="default: %(default).0f"
  )
  command.add_argument(
    "--BOOT_TIMEOUT_SECS", type=float, default=BOOT_TIMEOUT, help="default: %(default).0f"
  )
  _boolean_flag(command, "--CANCEL_ON_TIMEOUT", False, "delete it when a limit has passed")
  command.add_argument("--POLL_SECS", type=float, default=30.0, help="default: %(default).0f")


def run(arguments: argparse.Namespace) -> int:
  """Carries out a parsed command line; returns the exit status."""
  resource = QueuedResource(arguments.name, *project_and_zone(arguments.PROJECT, arguments.ZONE))
  if arguments.action == "create":
    return _create(resource, arguments)
  if arguments.DRY_RUN:
    delete = arguments.action == "delete"
    command = resource.delete_command(arguments.FORCE) if delete else resource.describe_command()
    print(shlex.join(["gcloud", *command]))
  elif arguments.action == "wait":
    resource.poll_seconds = arguments.POLL_SECS
    resource.wait(
      arguments.QUEUE_TIMEOUT_SECS, arguments.BOOT_TIMEOUT_SECS, arguments.CANCEL_ON_TIMEOUT
    )
  elif arguments.action == "delete":
    resource.delete(arguments.FORCE)
    say(f"{resource.name}: gone")
  else:
    description = resource.describe()
    state = state_of(description)
    print(f"{resource.name} {how_it_ended(description) if state in ENDED else state}")
    for name, node in resource.nodes().items():
      print(f"{name} {node}")
    return int(state == ABSENT)
  return 0


def _create(resource: QueuedResource, arguments: argparse.Namespace) -> int:
  """Puts the request into the queue; a request of this name that may be fulfilled will do."""
  kind = (arguments.ACCELERATOR_TYPE, arguments.RUNTIME_VERSION)
  options: dict[str, Any] = {
    "spot": arguments.SPOT,
    "reserved": arguments.RESERVED,
    "node_count": arguments.NODE_COUNT,
    "node_prefix": arguments.NODE_PREFIX,
    "node_id": arguments.NODE_ID,
    "metadata_from_file": arguments.METADATA_FROM_FILE,
    "valid_until_secs": arguments.QUEUE_TIMEOUT_SECS,
    "extra": shlex.split(arguments.EXTRA_ARGS),
  }
  if arguments.DRY_RUN:
    print(shlex.join(["gcloud", *resource.create_command(*kind, **options)]))
    return 0
  description = resource.describe()
  state = state_of(description)
  specs = (description or {}).get("tpu", {}).get("nodeSpec", [])
  have = {spec.get("node", {}).get("acceleratorType", "").rpartition("/")[2] for spec in specs}
  if state not in ENDED and have == {arguments.ACCELERATOR_TYPE}:
    say(f"{resource.name}: {state}, requested before")
    return 0
  resource.create(*kind, **options)
  say(f"{resource.name}: requested")
  return 0


def main(raw_arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  arguments = parser().parse_args(raw_arguments)
  try:
    return run(arguments)
  except (QueuedResourceError, GcloudError, ValueError) as error:
    say(f"error: {error}")
    return 1
  except KeyboardInterrupt:
    say(f"interrupted; {arguments.name} stays as it is: look with `describe`")
    return 130
