"""Command line of tools/remote.py: commands, options, and what their values must be."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Sequence

EXPERIMENTS = "configs/experiments"
TOKENS = ("HF_TOKEN", "WANDB_API_KEY")  # passed on where they are set
OVERRIDE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*=.*", re.DOTALL)

# Of each command what it does, and its groups of options.
COMMANDS = {
  "deploy": ("brings packages, code and dependencies to a host", ("folder", "deploy")),
  "start": ("starts a training in a tmux of its own, and shows it", ("folder", "start", "grace")),
  "attach": ("shows a training as it runs, or how it ended", ("session", "lines", "attach")),
  "status": ("says whether a training runs, or how it ended", ("session",)),
  "logs": ("shows the last lines of a training's log", ("session", "lines", "logs")),
  "stop": ("ends a training: SIGTERM, on which it saves, then SIGKILL", ("session", "grace")),
}


def parse(arguments: Sequence[str] | None, about: str, statuses: str) -> argparse.Namespace:
  """Parses a command line; ends the program with status 2 where it is wrong.

  Args:
    about: what the program is for.
    statuses: what its exit statuses mean.
  """
  parser = argparse.ArgumentParser("remote.py", description=about, epilog=statuses)
  groups = _groups()
  added = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
  parsers = {
    name: added.add_parser(
      name,
      help=summary,
      description=f"{summary[0].upper()}{summary[1:]}.",
      parents=[groups["host"], *[groups[part] for part in parts]],
      allow_abbrev=False,
    )
    for name, (summary, parts) in COMMANDS.items()
  }
  parsers["start"].usage = "%(prog)s HOST PORT --experiment NAME [OPTION ...] [KEY=VALUE ...]"
  parsers["start"].epilog = "KEY=VALUE: configuration keys, as for maxtext-ext train."

  args, args.overrides = parser.parse_known_args(arguments)
  fail = parsers[args.command].error
  for text in args.overrides:
    if args.command != "start" or text.startswith("-"):
      fail(f"unknown argument {text}")
    if not OVERRIDE.fullmatch(text):
      fail(f"{text!r}, expected KEY=VALUE")
  if args.key is not None and not os.path.isfile(args.key):
    fail(f"--key {args.key}: no such file")
  user, _, args.host = args.host.rpartition("@")
  args.user = user or args.user
  return args


def _groups() -> dict[str, argparse.ArgumentParser]:
  """Returns groups of options, which several commands share."""
  seconds = _number(0, 100_000)
  session = _matching("[A-Za-z0-9][A-Za-z0-9_-]*", "letters, digits, - and _, at most 40", 40)
  groups: dict[str, argparse.ArgumentParser] = {}

  def add(group: str, *names: str, **settings: object) -> None:
    parser = groups.setdefault(group, argparse.ArgumentParser(add_help=False))
    parser.add_argument(*names, **settings)

  host = r"([A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9:][A-Za-z0-9.:%_-]*"
  add("host", "host", metavar="HOST", type=_matching(host, "a name or an address", 255))
  add("host", "port", metavar="PORT", type=_number(1, 65535))
  user = _matching("[A-Za-z0-9_][A-Za-z0-9_.-]*", "the name of a user")
  add("host", "--user", type=user, default="root", help="to log in as; default root")
  add("host", "--key", metavar="FILE", help="private key; default: as ssh is configured")
  wait = "try so long to connect to a host that is still booting; default 60"
  add("host", "--wait", metavar="SECONDS", type=seconds, default=60, help=wait)

  folder = "of the code there; default /workspace/maxtext where there is /workspace, else ~/maxtext"
  plain = _matching("[^\x00-\x1f]*", "a folder", 1000)
  add("folder", "--remote-dir", metavar="DIR", type=plain, default="", help=folder)

  add("deploy", "--skip-setup", action="store_true", help="install no tmux and rsync")
  add("deploy", "--skip-sync", action="store_true", help="copy no code")
  add("deploy", "--skip-deps", action="store_true", help="do not run setup_cuda_worker.sh")

  of = f"that of {EXPERIMENTS}/NAME.yml, or this path"
  add("start", "--experiment", metavar="NAME", type=_experiment, required=True, help=of)
  default = "default: the experiment's name"
  add("start", "--session-name", metavar="NAME", type=session, help=default)
  add("start", "--no-attach", action="store_true", help="return once it has started")
  add("start", "--force", action="store_true", help="stop a session of that name first")
  variable = _matching("[A-Za-z_][A-Za-z0-9_]*", "the name of a variable, without its value", 255)
  passed = f"pass this variable on, besides {' and '.join(TOKENS)}: by no file, by no argument"
  add("start", "--env", metavar="NAME", type=variable, action="append", default=[], help=passed)

  default = "default: the one that runs, else the newest"
  add("session", "--session-name", metavar="NAME", type=session, help=default)
  lines = _number(1, 999_999_999)
  add("lines", "--lines", metavar="N", type=lines, default=50, help="of the log; default 50")
  add("attach", "--list", action="store_true", help="list all sessions, and how they ended")
  add("attach", "--logs", action="store_true", help="only show the last lines of the log")
  add("logs", "--follow", action="store_true", help="go on until the training ends")
  grace = "from SIGTERM to SIGKILL; default 120"
  add("grace", "--grace", metavar="SECONDS", type=seconds, default=120, help=grace)
  return groups


def _experiment(text: str) -> str:
  """The name of an experiment, which may also be given as that of its file, or as its path."""
  name = rf"(?:(?:\./)?{EXPERIMENTS}/)?([A-Za-z0-9][A-Za-z0-9._-]*?)(?:\.yml)?"
  if match := re.fullmatch(name, text):
    return match[1]
  raise argparse.ArgumentTypeError(f"{text!r}, expected the name of a file of {EXPERIMENTS}")


def _matching(pattern: str, expected: str, longest: int = 64) -> Callable[[str], str]:
  """Returns a type for argparse: text that matches all of `pattern`."""

  def check(text: str) -> str:
    if not re.fullmatch(pattern, text) or len(text) > longest:
      raise argparse.ArgumentTypeError(f"{text!r}, expected {expected}")
    return text

  return check


def _number(least: int, most: int) -> Callable[[str], int]:
  """Returns a type for argparse: a number from `least` to `most`."""

  def check(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
      raise argparse.ArgumentTypeError(f"{text!r}, expected a number from {least} to {most}")
    return int(text)

  return check
