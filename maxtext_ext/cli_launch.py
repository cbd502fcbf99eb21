"""Commands `maxtext-ext launch ...`: parse options, load modules, call them."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
  from maxtext_ext.launch.engines import Launch
  from maxtext_ext.launch.job import Job

_TOKEN = "HF_TOKEN"

launch_app = typer.Typer(help="Train or decode on machines of SkyPilot, XPK, Ray or Hugging Face.")

Config = Annotated[
  str, typer.Argument(metavar="CONFIG", help="A yml file of this checkout, as for train.")
]
Overrides = Annotated[
  list[str] | None,
  typer.Argument(metavar="[KEY=VALUE]...", help="Keys that override the file's: split=test"),
]
Task = Annotated[
  Literal["train", "decode"], typer.Option(help="Command to run with CONFIG and the keys.")
]
Name = Annotated[str, typer.Option(help="Name of the job; default: that of the run.")]
Accelerator = Annotated[
  str,
  typer.Option("--accelerator", "--topology", help="A TPU slice such as v4-32, or a GPU: H100:8."),
]
TpuSlice = Annotated[
  str, typer.Option("--accelerator", "--topology", help="A TPU slice: v4-32, v5p-64, v6e-16.")
]
Restarts = Annotated[int, typer.Option(help="How often a failed job is restarted.", min=0)]
Output = Annotated[str, typer.Option(help="Path of the file to write.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the job without starting it.")]
Secrets = Annotated[
  list[str] | None,
  typer.Option(
    "--secret",
    metavar="NAME",
    help=f"Environment variable to pass on; its value is not written. Default: {_TOKEN}.",
  ),
]


@launch_app.callback()
def describe_launch() -> None:
  """Train or decode on machines of SkyPilot, XPK, Ray or Hugging Face.

  This checkout is sent; data, weights and results belong in a bucket (gs://...).
  """


@launch_app.command("sky")
def launch_sky(
  config: Config,
  overrides: Overrides = None,
  task: Task = "train",
  accelerator: Accelerator = "v4-32",
  spot: Annotated[
    bool, typer.Option("--spot", help="Use spot machines: cheaper, may be preempted.")
  ] = False,
  zone: Annotated[
    str, typer.Option(help="Zone of Google Cloud, such as us-central2-b; default: any.")
  ] = "",
  restarts: Restarts = 3,
  secret: Secrets = None,
  name: Name = "",
  output: Output = "",
  dry_run: DryRun = False,
) -> None:
  """SkyPilot: a task file, started as a managed job.

  Runs on a TPU slice of Google Cloud by a queued resource, or on a GPU of any cloud. Lost machines
  are replaced, and training resumes from its last checkpoint.
  """
  from maxtext_ext.launch import sky

  job = _read(task, config, overrides, name)
  launch = sky.launch(
    job,
    accelerator=accelerator,
    zone=zone,
    spot=spot,
    restarts=restarts,
    secrets=_secrets(secret),
    output=output,
  )
  _finish(job, launch, output, dry_run=dry_run)


@launch_app.command("xpk")
def launch_xpk(
  config: Config,
  overrides: Overrides = None,
  task: Task = "train",
  accelerator: TpuSlice = "v4-32",
  cluster: Annotated[
    str, typer.Option(help="GKE cluster, created by `xpk cluster create`.", envvar="CLUSTER")
  ] = "maxtext",
  slices: Annotated[int, typer.Option(help="Number of slices.", min=1)] = 1,
  image: Annotated[
    str, typer.Option(help="Image with the code and its environment; by default XPK builds one.")
  ] = "",
  project: Annotated[str, typer.Option(help="Google Cloud project.", envvar="PROJECT")] = "",
  zone: Annotated[
    str, typer.Option(help="Zone of the cluster: us-central2-b.", envvar="ZONE")
  ] = "",
  restarts: Restarts = 10,
  name: Name = "",
  output: Output = "",
  dry_run: DryRun = False,
) -> None:
  """XPK: a JobSet on TPU node pools of GKE; for TPU VMs use tools/ or `launch sky`.

  Prints the XPK command and the JobSet that it creates. XPK cannot pass on secrets.
  """
  from maxtext_ext.launch import xpk

  job = _read(task, config, overrides, name)
  workload = xpk.Workload(
    accelerator=accelerator,
    cluster=cluster,
    slices=slices,
    restarts=restarts,
    image=image,
    project=project,
    zone=zone,
  )
  _finish(job, xpk.launch(job, workload, output=output), output, dry_run=dry_run)


@launch_app.command("ray")
def launch_ray(
  config: Config,
  overrides: Overrides = None,
  task: Task = "train",
  accelerator: Accelerator = "v4-32",
  address: Annotated[
    str,
    typer.Option(help="Address of the cluster's dashboard: http://HOST:8265", envvar="RAY_ADDRESS"),
  ] = "",
  restarts: Restarts = 3,
  name: Name = "",
  output: Output = "",
  dry_run: DryRun = False,
) -> None:
  """Ray: a JaxTrainer entry point, submitted to an existing cluster (KubeRay).

  The cluster's image must have this project installed, and its pods the secrets.
  """
  from maxtext_ext.launch import ray

  job = _read(task, config, overrides, name)
  launch = ray.launch(
    job, accelerator=accelerator, restarts=restarts, address=address, output=output
  )
  _finish(job, launch, output, dry_run=dry_run)


@launch_app.command("hf")
def launch_hf(
  config: Config,
  overrides: Overrides = None,
  task: Task = "train",
  flavor: Annotated[
    str, typer.Option(help="Machine type: a100-large, h200, ...; `hf jobs hardware` lists them.")
  ] = "a100-large",
  monitor: Annotated[
    bool, typer.Option("--monitor", help="Follow the log; the command fails if the job fails.")
  ] = False,
  cancel: Annotated[
    bool, typer.Option("--cancel-on-interrupt", help="Ctrl-C cancels the job, not only the log.")
  ] = False,
  timeout: Annotated[str, typer.Option(help="Time limit of the job: 8h, 30m.")] = "8h",
  restarts: Restarts = 0,
  volume: Annotated[
    list[str] | None,
    typer.Option(help="Volume to mount, for data and results: hf://buckets/OWNER/NAME:/data."),
  ] = None,
  secret: Secrets = None,
  code: Annotated[
    Literal["auto", "git", "inline"],
    typer.Option(help="git: clone the pushed commit; inline: send this checkout in the request."),
  ] = "auto",
  image: Annotated[
    str, typer.Option(help="Image with Python 3.12, git, tar and xz.")
  ] = "python:3.12",
  namespace: Annotated[
    str, typer.Option(help="User or organisation that pays; default: the token's user.")
  ] = "",
  name: Name = "",
  output: Output = "",
  dry_run: DryRun = False,
) -> None:
  """Hugging Face Jobs: one machine with one or more GPUs.

  The job uses your token. Its disk is deleted at its end: give a bucket with --volume, and a
  base_output_directory in it.
  """
  from maxtext_ext.launch import huggingface
  from maxtext_ext.launch.code import choose
  from maxtext_ext.progress import say

  job = _read(task, config, overrides, name)
  packed = choose(job, code)
  request = huggingface.request(
    job,
    packed,
    flavor=flavor,
    image=image,
    timeout=timeout,
    restarts=restarts,
    secret_names=_secrets(secret),
    volumes=volume or [],
  )
  say(f"code: {packed.said}")
  if output:
    huggingface.write(job, output, request)
  if dry_run:
    typer.echo(request.shown())
    say("nothing was started")
    return
  if status := huggingface.run(request, namespace, monitor=monitor, cancel=cancel):
    raise typer.Exit(status)


def _read(
  task: Literal["train", "decode"], config: str, overrides: Sequence[str] | None, name: str
) -> "Job":
  """Checks the configuration and describes the job; prints the folders that its machine needs."""
  from maxtext_ext.launch.job import read_job
  from maxtext_ext.progress import say

  job = read_job(task, config, overrides or [], name)
  if places := job.local_places():
    say(f"folders of the job's machine, not of this one: {', '.join(places)}")
  return job


def _secrets(names: Sequence[str] | None) -> list[str]:
  if names is None:
    names = [_TOKEN] if os.environ.get(_TOKEN) else []
  for name in names:
    if not name.isidentifier():
      raise ValueError("--secret: expected the name of a variable, such as HF_TOKEN, not its value")
  return list(dict.fromkeys(names))


def _finish(job: "Job", launch: "Launch", output: str, *, dry_run: bool) -> None:
  from maxtext_ext.launch import engines

  if dry_run:
    engines.show(job, launch, write=bool(output))
  elif status := engines.start(job, launch, keep=bool(output)):
    raise typer.Exit(status)
