"""XPK: a JobSet on a GKE cluster with TPU node pools; it does not reach TPU VMs.

The command and the JobSet are those of XPK 1.16.0; tests compare them with what it writes itself.
"""

import shlex
from dataclasses import dataclass
from typing import Any

from maxtext_ext.errors import PEER_LOST
from maxtext_ext.launch.accelerator import Tpu, parse_tpu
from maxtext_ext.launch.engines import Launch, place, yaml_text
from maxtext_ext.launch.job import SETUP, Job

BASE_IMAGE = "python:3.12"
UNBUILT = "IMAGE"  # in the JobSet, where XPK builds the image
_CONTAINER = "jax-tpu"
_KEEP = 12 * 3600  # seconds that a finished JobSet stays listed
_GKE = {"v4": "tpu-v4-podslice", "v5litepod": "tpu-v5-lite-podslice", "v5p": "tpu-v5p-slice"}
_GKE["v6e"] = "tpu-v6e-slice"


@dataclass(frozen=True, kw_only=True)
class Workload:
  """Options of `xpk workload create`; empty project and zone: those of gcloud's configuration.

  Attributes:
    restarts: of the whole JobSet: for a lost machine, a preemption, a killed process.
    image: that contains the code; empty: XPK builds one of the checkout.
  """

  accelerator: str
  cluster: str
  slices: int
  restarts: int
  image: str
  project: str
  zone: str


def launch(job: Job, workload: Workload, *, output: str) -> Launch:
  """Returns the JobSet, below a comment with the equivalent XPK command, and its start command."""
  return Launch(
    file=place(job, output, f"out/launch/{job.name}.jobset.yml"),
    text=_manifest(job, workload),
    command=_command(job, workload),
  )


def _command(job: Job, workload: Workload) -> list[str]:
  tpu = parse_tpu(workload.accelerator, "xpk")
  words = {
    "workload": job.name,
    "cluster": workload.cluster,
    "project": workload.project,
    "zone": workload.zone,
    "tpu-type": tpu.name,
    "num-slices": str(workload.slices),
    "max-restarts": str(workload.restarts),
    "restart-on-exit-codes": str(PEER_LOST),
  }
  if workload.image:
    words["docker-image"] = workload.image
  else:
    words |= {"base-docker-image": BASE_IMAGE, "script-dir": "."}
  words["command"] = _in_container(job, workload)
  flags = [f"--{name}={value}" for name, value in words.items() if value]
  return ["xpk", "workload", "create", *flags]


def _manifest(job: Job, workload: Workload) -> str:
  tpu = parse_tpu(workload.accelerator, "xpk")
  head = f"# {shlex.join(_command(job, workload))}\n"
  if not workload.image:
    head += (
      f"# XPK builds an image of this checkout on {BASE_IMAGE}, and puts it for {UNBUILT}.\n"
      "# To apply this file with kubectl, build one and give its name with --image.\n"
    )
  described = _job_set(job, workload, tpu)
  return head + yaml_text(described)


def _in_container(job: Job, workload: Workload) -> str:
  line = f"exec {job.command()}"  # which gets the signal that ends a pod
  if not workload.image:
    line = f"{SETUP.format(kind='tpu')} && {line}"
  if "\n" in line:
    raise ValueError(f"launch xpk: a value with a line break cannot be passed on: {line!r}")
  return line.replace("$", "$$")  # Kubernetes takes $$ for $, and $(NAME) for a variable


def _job_set(job: Job, workload: Workload, tpu: Tpu) -> dict[str, Any]:
  label = {"xpk.google.com/workload": job.name}
  hosts = tpu.slice.chips // _chips_per_host(tpu)
  codes = [PEER_LOST, *range(127, 256)]  # the latter of signals: preempted, killed, aborted
  pods: dict[str, Any] = {
    "parallelism": hosts,
    "completions": hosts,
    "backoffLimit": 0,  # a lost host is the whole slice lost
    "podFailurePolicy": {
      "rules": [
        {
          "action": "FailJob",
          "onPodConditions": [],
          "onExitCodes": {"containerName": _CONTAINER, "operator": "NotIn", "values": codes},
        }
      ]
    },
    "template": {"metadata": {"labels": label}, "spec": _pod(job, workload, tpu)},
  }
  rule = {"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
  return {
    "apiVersion": "jobset.x-k8s.io/v1alpha2",
    "kind": "JobSet",
    "metadata": {
      "name": job.name,
      "labels": {"kueue.x-k8s.io/queue-name": "multislice-queue", **label},
      "annotations": {
        "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
      },
    },
    "spec": {
      "ttlSecondsAfterFinished": _KEEP,
      "failurePolicy": {"rules": [rule], "maxRestarts": workload.restarts},
      "replicatedJobs": [
        {"name": "slice-job", "replicas": workload.slices, "template": {"spec": pods}}
      ],
    },
  }


def _chips_per_host(tpu: Tpu) -> int:
  return min(4, tpu.slice.chips)  # XPK makes node pools of no larger machines


def _pod(job: Job, workload: Workload, tpu: Tpu) -> dict[str, Any]:
  return {
    "schedulerName": "default-scheduler",
    "restartPolicy": "Never",
    "nodeSelector": {
      "cloud.google.com/gke-tpu-accelerator": _GKE[tpu.generation],
      "cloud.google.com/gke-tpu-topology": tpu.topology,
    },
    "priorityClassName": "medium",
    "hostNetwork": True,
    "dnsPolicy": "ClusterFirstWithHostNet",
    "terminationGracePeriodSeconds": 30,
    "containers": [
      {
        "name": _CONTAINER,
        "image": workload.image or UNBUILT,
        "securityContext": {"privileged": True},
        "command": ["bash", "-c", _in_container(job, workload)],
        "resources": {"limits": {"google.com/tpu": _chips_per_host(tpu)}},
        "volumeMounts": [{"mountPath": "/dev/shm", "name": "dshm-2"}],
      }
    ],
    "tolerations": [{"operator": "Exists", "key": "google.com/tpu"}],
    "volumes": [{"emptyDir": {"medium": "Memory"}, "name": "dshm-2"}],
  }
