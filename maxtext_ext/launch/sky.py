"""SkyPilot: a managed job on a TPU slice of Google Cloud, or on a GPU of any cloud.

The names are those of SkyPilot 0.14.1 (sky/utils/schemas.py), which tests compare the task with.
"""

import re
from collections.abc import Sequence
from typing import Any

from maxtext_ext.errors import PEER_LOST
from maxtext_ext.launch.accelerator import Gpu, parse_accelerator
from maxtext_ext.launch.engines import Launch, place, yaml_text
from maxtext_ext.launch.job import SETUP, Job

# Images of TPU machines, by generation.
RUNTIMES = {
  "v4": "tpu-ubuntu2204-base",
  "v5litepod": "v2-alpha-tpuv5-lite",
  "v5p": "v2-alpha-tpuv5",
  "v6e": "v2-alpha-tpuv6e",
}
_ZONE = re.compile(r"[a-z]+-[a-z]+\d+-[a-z]")
_ZONES = {"v4": "us-central2-b"}  # the only one that has them


def launch(
  job: Job,
  *,
  accelerator: str,
  zone: str,
  spot: bool,
  restarts: int,
  secrets: Sequence[str],
  output: str,
) -> Launch:
  """Returns the task file, and the command that starts a managed job of it.

  Args:
    zone: of Google Cloud; empty: the generation's only one, or any.
    spot: cheaper machines, which may be taken away; the job then starts anew by itself.
    restarts: after failures; those for a lost machine are not counted.
    secrets: names of environment variables, whose values are not written.

  Raises:
    ValueError: the accelerator or the zone does not exist.
  """
  machine = parse_accelerator(accelerator)
  resources: dict[str, Any] = {}
  if isinstance(machine, Gpu):
    resources["accelerators"] = f"{machine.name}:{machine.count}"
    if zone:
      resources |= {"infra": _infra(zone)}
  else:
    zone = zone or _ZONES.get(machine.generation, "")
    resources |= {
      "infra": _infra(zone) if zone else "gcp",
      "accelerators": f"tpu-{machine.name}",
      "accelerator_args": {
        "tpu_vm": True,
        "runtime_version": RUNTIMES[machine.generation],
        "gcp_queued_resource": True,
      },
    }
  resources |= {
    "use_spot": spot,
    "job_recovery": {
      "max_restarts_on_errors": restarts,
      "recover_on_exit_codes": [PEER_LOST],
    },
  }
  kind = "cuda" if isinstance(machine, Gpu) else "tpu"
  described: dict[str, Any] = {
    "name": job.name,
    "workdir": ".",
    "num_nodes": 1,  # a slice is one; setup and run are carried out on all its hosts
    "resources": resources,
    "setup": SETUP.format(kind=kind),
    "run": job.command(),
  }
  if secrets:
    described["secrets"] = dict.fromkeys(secrets)
  file = place(job, output, f"out/launch/{job.name}.sky.yml")
  named = [word for name in secrets for word in ("--secret", name)]
  return Launch(
    file=file,
    text=yaml_text(described),
    command=["sky", "jobs", "launch", "--yes", "--name", job.name, *named, file],
  )


def _infra(zone: str) -> str:
  if not _ZONE.fullmatch(zone):
    raise ValueError(f"--zone {zone!r}: expected a zone of Google Cloud, such as us-central2-b")
  return f"gcp/{zone.rpartition('-')[0]}/{zone}"
