"""The doctor's visit: versions, checks, a trial of JAX; printed for people or as JSON."""

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from maxtext_ext.doctor.checks import Finding, check_machine, versions
from maxtext_ext.doctor.machine import find_gpus, tpu_files
from maxtext_ext.doctor.trial import Trial, attempt
from maxtext_ext.escape import printable
from maxtext_ext.progress import say

_NAMES = {"tpu": "TPU chips", "gpu": "GPUs"}


def examine(seconds: float, *, expected: str = "", as_json: bool = False) -> bool:
  """Examines this machine and prints what it finds; returns whether all essentials are well.

  Args:
    seconds: for the trial of JAX.
    expected: the accelerator that must be there, tpu or gpu; empty: none need be.
    as_json: one JSON object instead of lines.
  """
  findings, installed = check_machine(expected), versions()
  busy = any(finding.name == "accelerator" and finding.status == "error" for finding in findings)
  trial = Trial()
  if not busy:  # else the trial would wait for what is known to be wrong
    say("trying JAX and a tiny training; up to a minute ...")
    trial = attempt(seconds)
    findings += [*_look_at(trial), *trial.findings]
  well = all(finding.status != "error" for finding in findings)
  if as_json:
    print_json(installed, findings, trial, well)
  else:
    print_lines(installed, findings, trial)
  return well


def _look_at(trial: Trial) -> list[Finding]:
  """Tells whether JAX computes where it should."""
  if not trial.devices:
    return []
  platform = trial.devices[0]["platform"]
  here, count = _accelerators()
  if count and platform != here and not os.environ.get("JAX_PLATFORMS"):
    said = f"{count} {_NAMES[here]} here, but JAX computes on the {platform}"
    name = {"tpu": "tpu", "gpu": "cuda"}[here]
    remedy = f"`JAX_PLATFORMS={name} python -c 'import jax; jax.devices()'` says why"
    return [Finding(name="devices", status="error", said=said, remedy=remedy)]
  if platform == here and len(trial.devices) < count:
    said = f"JAX sees {len(trial.devices)} of {count} {_NAMES[here]}"
    remedy = "recreate the machine, or unset CUDA_VISIBLE_DEVICES"
    return [Finding(name="devices", status="warning", said=said, remedy=remedy)]
  return []


def _accelerators() -> tuple[str, int]:
  """The platform of this machine's accelerators, and their number; of a CPU alone 0."""
  if chips := tpu_files():
    return "tpu", len(chips)
  return "gpu", len(find_gpus())


def print_lines(installed: Mapping[str, str], findings: Sequence[Finding], trial: Trial) -> None:
  """Prints the examination, a line each."""
  out = sys.stdout
  out.write(f"versions: {', '.join(f'{name} {text}' for name, text in installed.items())}\n")
  if trial.devices:
    out.write(f"devices: {describe_devices(trial.devices)}\n")
  if trial.training:
    out.write(f"training: {describe_training(trial.training)}\n")
  for finding in findings:
    out.write(f"{finding.status:<8}{printable(str(finding))}\n")
  errors = sum(finding.status == "error" for finding in findings)
  out.write(f"not ready: {errors} of these are errors\n" if errors else "ready to train\n")
  out.flush()


def describe_devices(devices: Sequence[Mapping[str, Any]]) -> str:
  """Kind, number and memory: 4 x TPU v4, 30.8 GiB each."""
  first = devices[0]
  memory = f", {first['memory'] / 2**30:.1f} GiB each" if first["memory"] else ""
  return f"{len(devices)} x {first['kind']}{memory}, of this machine"


def describe_training(training: Mapping[str, float]) -> str:
  """Time and loss."""
  return (
    f"a tiny model in {training['seconds']:.1f} s with compiling, {training['step_seconds']:.3f} s"
    f" a step, loss {training['loss']:.3f}"
  )


def print_json(
  installed: Mapping[str, str], findings: Sequence[Finding], trial: Trial, well: bool
) -> None:
  """Prints the examination as one JSON object."""
  facts = {
    "well": well,
    "versions": installed,
    "devices": list(trial.devices),
    "training": dict(trial.training),
    "findings": [dataclasses.asdict(finding) for finding in findings],
  }
  sys.stdout.write(f"{json.dumps(facts, ensure_ascii=False)}\n")
  sys.stdout.flush()
