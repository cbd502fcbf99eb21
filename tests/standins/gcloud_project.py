"""Commands that are given once in a project; the stand-in only looks at their words."""

import sys

from standins.gcloud_tpus import split_flags

# The flags that each takes, of those of the real tool.
COMMANDS = {
  ("config", "set", "project"): (),
  ("config", "set", "compute/zone"): (),
  ("services", "enable"): ("async", "project"),
  ("storage", "buckets", "create"): ("location", "uniform-bucket-level-access", "project"),
  ("compute", "instances", "create"): ("machine-type", "scopes", "zone", "image-family", "project"),
  ("compute", "ssh"): ("zone", "command", "internal-ip", "project"),
}


def find(words: list[str]) -> tuple[str, ...] | None:
  """The command that the words begin with; None: it is none of these."""
  return next((each for each in COMMANDS if tuple(words[: len(each)]) == each), None)


def answer(command: tuple[str, ...], words: list[str]) -> int:
  """Says what is wrong with the words, if anything is."""
  names, flags = split_flags(words[len(command) :])
  unknown = sorted(set(flags) - set(COMMANDS[command]))
  if unknown or not names:
    said = f"unrecognized arguments: --{unknown[0]}" if unknown else "Must be specified."
    print(f"ERROR: (gcloud.{'.'.join(command)}) {said}", file=sys.stderr)
    return 2
  return 0
