"""Ray Train: an entry for `ray job submit` that starts one worker a host with JaxTrainer.

Ray 2.60 joins the hosts (jax.distributed) and sets MEGASCALE_* again at each restart, so that no
value of a lost slice remains. Tests build the trainer of an entry with Ray itself.
"""

import os
import re
import shlex

from maxtext_ext.files.connection import is_url
from maxtext_ext.launch.accelerator import Gpu, parse_accelerator
from maxtext_ext.launch.engines import Launch, place
from maxtext_ext.launch.job import Job

_ENTRY = '''\
"""{title}

    {command}

The image of the cluster has Ray and this project: setup/install.sh launch,{extra}
"""

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.jax import JaxTrainer

ARGV = {argv}


def run(config: dict) -> None:
  # Imported by the workers only: JAX must not take the accelerators in the process that waits.
  from maxtext_ext.compat.MaxText.{task} import main

  main(config["argv"])


JaxTrainer(
  run,
  train_loop_config={{"argv": ARGV}},
  scaling_config=ScalingConfig({scaling}),
  run_config=RunConfig(
    name={name},
    {storage}failure_config=FailureConfig(max_failures={restarts}),
  ),
).fit()
'''


def launch(job: Job, *, accelerator: str, restarts: int, address: str, output: str) -> Launch:
  """Returns the entry, a Python file, and the command that submits it with the checkout.

  Args:
    address: of the cluster; empty: RAY_ADDRESS of the environment.

  Raises:
    ValueError: `output` is outside the checkout, which Ray sends.
  """
  file = place(job, output, f"{job.name.replace('-', '_')}_ray.py")
  if output and os.path.isabs(file):
    raise ValueError(f"--output {output}: Ray sends {job.root} alone; name a file in it")
  where = ["--address", address] if address else []
  command = ["ray", "job", "submit", *where, "--working-dir", ".", "--", "python3", file]
  text = _entry(job, accelerator, restarts, command)
  return Launch(file=file, text=text, command=command, passing=True)


def _entry(job: Job, accelerator: str, restarts: int, command: list[str]) -> str:
  machine = parse_accelerator(accelerator)
  if isinstance(machine, Gpu):
    scaling: dict[str, object] = {
      "use_gpu": True,
      "num_workers": 1,
      "resources_per_worker": {"GPU": machine.count},
      "accelerator_type": _ray_name(machine.name),
    }
  else:
    scaling = {
      "use_tpu": True,
      "num_workers": machine.hosts,
      "topology": machine.topology,
      "accelerator_type": f"TPU-{machine.generation.upper()}",
      "resources_per_worker": {"TPU": machine.chips_per_host},
    }
  base = str(job.settings.base_output_directory)
  storage = f"storage_path={_quoted(f'{base}/ray')},\n    " if is_url(base) else ""
  verb = {"train": "Trains", "decode": "Decodes with"}[job.task]
  return _ENTRY.format(
    title=f"{verb} {job.config} on {accelerator}, by Ray Train.",
    command=shlex.join(command),
    extra="cuda12" if isinstance(machine, Gpu) else "tpu",
    argv=_list([f"MaxText.{job.task}", *job.arguments[1:]]),
    task=job.task,
    scaling="".join(f"\n    {key}={_quoted(value)}," for key, value in scaling.items()) + "\n  ",
    name=_quoted(job.name),
    storage=storage,
    restarts=restarts,
  )


def _ray_name(gpu: str) -> str:
  """Returns Ray's name of a GPU, as Ray detects it: without the memory, H100 in capitals."""
  name = re.sub(r"-\d+GB?$", "", gpu, flags=re.IGNORECASE)
  return name.upper() if name.islower() else name


def _list(words: list[str]) -> str:
  return "[\n" + "".join(f"  {_quoted(word)},\n" for word in words) + "]"


def _quoted(value: object) -> str:
  """Returns Python source of a value, with double quotes where that is the same."""
  text = repr(value)
  return text.replace("'", '"') if '"' not in text and "\\" not in text else text
