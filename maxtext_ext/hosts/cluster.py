"""Cluster membership, read from the environment."""

import os
from dataclasses import dataclass

ADDRESS = "JAX_COORDINATOR_ADDRESS"
COUNT = "JAX_NUM_PROCESSES"
INDEX = "JAX_PROCESS_ID"
# Machines that know by themselves who takes part: MaxText's values of `hardware`.
_KNOWING = ("tpu", "gpu_multiprocess")
_ALL = f"give {ADDRESS}=HOST:PORT of process 0, {COUNT} and {INDEX} (from 0) on every host"


@dataclass(frozen=True, kw_only=True)
class Cluster:
  """Place of this process in the cluster.

  Attributes:
    address: host and port at which process 0 is found.
    count: number of processes.
    index: of this one, from 0.
  """

  address: str
  count: int
  index: int

  def __post_init__(self) -> None:
    if not 0 <= self.index < self.count:
      raise ValueError(f"{INDEX}={self.index} of {COUNT}={self.count}: expected 0 to {COUNT} - 1")
    if not self.host or not self.address.rpartition(":")[2].isdigit():
      raise ValueError(f"{ADDRESS}={self.address}, expected HOST:PORT of process 0")

  @property
  def host(self) -> str:
    """Name or number of the machine of process 0."""
    return self.address.rpartition(":")[0].strip("[]")

  @property
  def port(self) -> int:
    """Port of process 0 on that machine."""
    return int(self.address.rpartition(":")[2])


def find(hardware: str, seconds: int) -> Cluster | None:
  """Finds the cluster of this process; None: it runs alone.

  On a TPU the machine's metadata has it. Elsewhere it is read from JAX_COORDINATOR_ADDRESS, then
  JAX_NUM_PROCESSES and JAX_PROCESS_ID or what Slurm and Open MPI set; or the names that MaxText
  reads on GPUs, JAX_COORDINATOR_IP, JAX_COORDINATOR_PORT, NNODES and NODE_RANK.

  Args:
    hardware: tpu, gpu, cpu or gpu_multiprocess.
    seconds: to wait for the name of the first machine to be known.

  Raises:
    ValueError: the environment is contradictory.
  """
  address = os.environ.get(ADDRESS)
  if not address and (ip := os.environ.get("JAX_COORDINATOR_IP")):
    address = f"{ip}:{os.environ.get('JAX_COORDINATOR_PORT', '')}"
  if not address and hardware not in _KNOWING:
    if (said := os.environ.get(COUNT, "1")) != "1":
      raise ValueError(f"{COUNT}={said} without {ADDRESS}: {_ALL}")
    return None
  count, index = _number(COUNT, "NNODES"), _number(INDEX, "NODE_RANK")
  if None in (address, count, index):
    from jax._src import clusters  # the rest of this module needs no JAX

    try:
      address, count, index, _ = clusters.ClusterEnv.auto_detect_unset_distributed_params(
        address, count, index, None, None, seconds
      )
    except RuntimeError as error:
      raise ValueError(f"the hosts of this run are not known: {error}") from error
  if address is None:
    return None
  if count is None or index is None:
    raise ValueError(f"{ADDRESS}={address} without {COUNT if count is None else INDEX}: {_ALL}")
  return Cluster(address=address, count=count, index=index) if count > 1 else None


def _number(*names: str) -> int | None:
  for name in names:
    if value := os.environ.get(name):
      if not value.isdigit():
        raise ValueError(f"{name}={value}, expected a whole number")
      return int(value)
  return None
