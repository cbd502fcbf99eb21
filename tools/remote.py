#!/usr/bin/env python3
"""Training on a GPU host that is reached by ssh: RunPod, Lambda, or any other.

Exit status: that of the training (128 + n for signal n) from start, attach and status once it has
ended; 255 when this program failed, as for ssh; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from orchestration.code_archive import tracked_files, untracked_files
from orchestration.code_transfer import send_files
from orchestration.remote_arguments import EXPERIMENTS, TOKENS, parse
from orchestration.remote_sessions import (
  find_session,
  hint,
  list_sessions,
  show_log,
  watch_session,
)
from orchestration.ssh_host import MARK, SSH_FAILED, ConnectionLost, HostError, SshHost

ROOT = Path(__file__).resolve().parents[1]
SESSION_SCRIPT = ROOT / "tools/orchestration/remote_session.sh"
TOKEN_KEY = "hf_access_token="
SHORTEST_SECRET = 8  # characters; a shorter value is in many arguments by chance


def deploy(host: SshHost, args: argparse.Namespace) -> int:
  """Brings a host to where it can train: packages, code, dependencies."""
  names = [] if args.skip_sync else tracked_files(ROOT)
  if not args.skip_setup:
    with _Step("packages"):
      host.call("install_packages")
  remote_dir, tools = _probe(host, args.remote_dir)
  if not args.skip_sync:
    with_rsync = "rsync" in tools and shutil.which("rsync") is not None
    with _Step(f"{len(names)} files to {remote_dir} by {'rsync' if with_rsync else 'tar'}"):
      moved = send_files(host, ROOT, names, remote_dir, with_rsync=with_rsync)
    for old, new in moved:
      _say(f"note: {old} was in the way on the host, and is {new} now")
    staying = untracked_files(ROOT)
    if staying:
      more = ", ..." if len(staying) > 5 else ""
      _say(f"note: git does not track these, they stay here: {', '.join(staying[:5])}{more}")
  if not args.skip_deps:
    with _Step("dependencies (some minutes the first time)"):
      host.call("install_dependencies", remote_dir, output=_copy_marked_out)
  _say(f"deployed to {host.host}:{remote_dir}")
  return 0


def start(host: SshHost, args: argparse.Namespace) -> int:
  """Starts a training in a tmux of its own, and watches it unless told otherwise."""
  environment = _environment(args.env)
  _check_secrets(environment, args.overrides)
  config = f"{EXPERIMENTS}/{args.experiment}.yml"
  command = shlex.join(["maxtext-ext", "train", config, *args.overrides])
  name = args.session_name or args.experiment.replace(".", "_")
  remote_dir, _ = _probe(host, args.remote_dir)

  def feed(stream: BinaryIO) -> None:
    pairs = [f"{key}={value}" for key, value in environment.items()]
    for text in (SESSION_SCRIPT.read_text(), f"exec {command}", *pairs, "end"):
      stream.write(os.fsencode(text) + b"\0")

  force = "yes" if args.force else "no"
  try:
    host.call("start", name, remote_dir, config, force, str(args.grace), feed=feed)
  except ConnectionLost as error:
    ask = hint(host, "status", name)
    raise ConnectionLost(f"{error}; {name} may have started, see: {ask}") from error
  session = find_session(list_sessions(host), name)
  _say(f"started {name} on {host.host} in {remote_dir}: {command}")
  if environment:
    _say(f"with {', '.join(environment)} in its environment")
  if args.no_attach:
    for what in ("attach", "status", "stop"):
      _say(f"  {hint(host, what, session.name)}")
    return 0
  _say("Ctrl-b d leaves it running" if sys.stdin.isatty() else "Ctrl-C leaves it running")
  return watch_session(host, session)


def attach(host: SshHost, args: argparse.Namespace) -> int:
  """Shows a training as it runs, or how it ended; or the list of all."""
  if not args.list:
    session = find_session(list_sessions(host), args.session_name)
    if not args.logs:
      return watch_session(host, session, args.lines)
    show_log(host, session, args.lines)
    return 0
  sessions = list_sessions(host)
  for session in sessions:
    print(session, session.command, sep="\n  ")
  if not sessions:
    print(f"no session on {host.host}")
  return 0


def logs(host: SshHost, args: argparse.Namespace) -> int:
  """Shows the last lines of a training's log."""
  session = find_session(list_sessions(host), args.session_name)
  show_log(host, session, args.lines, follow=args.follow)
  return 0


def status(host: SshHost, args: argparse.Namespace) -> int:
  """Says whether a training runs or how it ended; the exit status is its own."""
  session = find_session(list_sessions(host), args.session_name)
  print(session, session.command, sep="\n  ")
  return session.status


def stop(host: SshHost, args: argparse.Namespace) -> int:
  """Ends a training: SIGTERM, on which it saves, and SIGKILL when it takes too long."""
  session = find_session(list_sessions(host), args.session_name)
  if session.running:
    _say(f"stopping {session.name}; it has {args.grace} s to save")
    host.call("stop", session.name, str(args.grace))
    session = find_session(list_sessions(host), session.name)
  print(session)
  return 0


COMMANDS = {
  "deploy": deploy,
  "start": start,
  "attach": attach,
  "status": status,
  "logs": logs,
  "stop": stop,
}


def _probe(host: SshHost, wanted: str) -> tuple[str, list[str]]:
  """Returns the folder of the code on the host, and the tools that are there."""
  lines = host.call("probe", wanted)
  remote_dir = next(fields[1] for fields in lines if fields[0] == "dir")
  return remote_dir, [fields[1] for fields in lines if fields[0] == "has"]


def _environment(names: Sequence[str]) -> dict[str, str]:
  """Returns the variables to pass on: `names`, which must be set, and the tokens that are."""
  unset = [name for name in names if name not in os.environ]
  if unset:
    raise ValueError(f"{', '.join(unset)}: not set here; export it, or leave out --env")
  return {name: os.environ[name] for name in (*TOKENS, *names) if name in os.environ}


def _check_secrets(environment: dict[str, str], arguments: Sequence[str]) -> None:
  if any(argument.startswith(TOKEN_KEY) for argument in arguments):
    raise ValueError(
      f"{TOKEN_KEY}... is an argument, where ps and logs show it; export HF_TOKEN instead"
    )
  for name, value in environment.items():
    if len(value) >= SHORTEST_SECRET and any(value in argument for argument in arguments):
      raise ValueError(
        f"the value of {name} is in an argument, where ps and logs show it; leave it out, "
        "the training has it in its environment"
      )


def _copy_marked_out(stream: BufferedReader) -> None:
  """Writes the lines of a function that are for people."""
  for line in stream:
    if not line.startswith(MARK):
      sys.stdout.buffer.write(line)
  sys.stdout.buffer.flush()


class _Step:
  """A part of deploy, with a line when it begins and when it is done."""

  def __init__(self, what: str) -> None:
    self.what = what

  def __enter__(self) -> None:
    self.began = time.monotonic()
    _say(f"== {self.what}")

  def __exit__(self, kind: type | None, *_: object) -> None:
    if kind is None:
      _say(f"== done in {time.monotonic() - self.began:.0f} s")


def _say(text: str) -> None:
  print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command line; returns the exit status."""
  sys.stdout.reconfigure(errors="backslashreplace")  # Arabic on a terminal that has none
  args = parse(arguments, *__doc__.split("\n\n"))
  host = SshHost(args.host, args.port, args.user, args.key, args.wait)
  try:
    return COMMANDS[args.command](host, args)
  except (HostError, ValueError, OSError) as error:
    *before, last = str(error).splitlines() or [""]
    print(*before, f"error: {last}", sep="\n", file=sys.stderr)
    return SSH_FAILED
  except KeyboardInterrupt:
    return 130


if __name__ == "__main__":
  sys.exit(main())
