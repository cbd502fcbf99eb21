"""Engines with a program that starts jobs: the file written for it, and the call."""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import yaml

from maxtext_ext.launch.job import Job
from maxtext_ext.progress import say

ENVIRONMENT = ".venv-engines"  # setup/install_engines.sh makes it


@dataclass(frozen=True, kw_only=True)
class Launch:
  """Command that starts a job.

  Attributes:
    file: path of the text, from the root of the checkout.
    text: of that file.
    command: to be run in the root of the checkout.
    passing: whether the file can be deleted when the command has ended.
  """

  file: str
  text: str
  command: list[str]
  passing: bool = False


def place(job: Job, output: str, default: str) -> str:
  """Returns the path of the file for an engine, from the root of the checkout.

  Args:
    output: the user's choice, from the current folder; empty: `default`, from the root.

  Raises:
    ValueError: the file would overwrite the configuration.
  """
  if not output:
    return default
  path = pathlib.Path(output).resolve()
  name = path.relative_to(job.root).as_posix() if path.is_relative_to(job.root) else str(path)
  if name in job.config_files:
    raise ValueError(f"--output {output}: the configuration itself; name another file")
  return name


def yaml_text(described: dict[str, Any]) -> str:
  """Dumps YAML with short lists on one line, and without wrapping lines."""
  return yaml.safe_dump(
    described, sort_keys=False, allow_unicode=True, width=100_000, default_flow_style=None
  )


def show(job: Job, launch: Launch, *, write: bool) -> None:
  """Prints the text and the command; writes the file only with `output`."""
  if write:
    _write(job.root / launch.file, launch.text)
  sys.stdout.write(launch.text)
  sys.stdout.flush()
  say(f"nothing was started; in {job.root}: {shlex.join(launch.command)}")


def start(job: Job, launch: Launch, *, keep: bool) -> int:
  """Writes the file and runs the engine's command; returns its exit status.

  Raises:
    ValueError: the engine's program is not installed, or the file is not one of this command.
  """
  program = _find(job, launch.command[0])
  path = job.root / launch.file
  passing = launch.passing and not keep
  if passing and path.exists():
    raise ValueError(f"{path} is there already, perhaps of another launch; remove it, or --output")
  _write(path, launch.text)
  say(f"{launch.file} is written; {shlex.join(launch.command)}")
  try:
    finished = subprocess.run([program, *launch.command[1:]], cwd=job.root, check=False)
  finally:
    if passing:
      path.unlink(missing_ok=True)
  status = finished.returncode
  return status if status >= 0 else 128 - status


def _find(job: Job, name: str) -> str:
  ours = job.root / ENVIRONMENT / "bin"
  program = shutil.which(name) or shutil.which(name, path=os.fspath(ours))
  if program is None:
    raise ValueError(
      f"{name} is not installed: setup/install_engines.sh puts it into {ENVIRONMENT};"
      " or give --dry-run, which needs no engine"
    )
  return program


def _write(path: pathlib.Path, text: str) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text, encoding="utf-8")
