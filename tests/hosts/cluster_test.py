"""Processes that take part, from the environment."""

import inspect
import re

import pytest
from jax._src import clusters

from maxtext_ext.hosts.cluster import Cluster, find

NAMES = (
  *("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"),
  *("JAX_COORDINATOR_IP", "JAX_COORDINATOR_PORT", "NNODES", "NODE_RANK"),
)
JAX = {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}
MAXTEXT = {
  "JAX_COORDINATOR_IP": "a",
  "JAX_COORDINATOR_PORT": "1",
  "NNODES": "4",
  "NODE_RANK": "3",
}


@pytest.fixture
def environment(monkeypatch):
  """Sets the variables of a cluster, and no others."""
  for name in NAMES:
    monkeypatch.delenv(name, raising=False)
  return lambda variables: [monkeypatch.setenv(*item) for item in variables.items()]


@pytest.mark.parametrize("variables", [JAX, MAXTEXT])
def test_the_environment_says_who_takes_part(environment, variables):
  environment(variables)
  assert find("cpu", 1) == Cluster(address="a:1", count=4, index=3)


@pytest.mark.parametrize(
  "variables", [{}, {**JAX, "JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}]
)
def test_one_process_is_no_cluster(environment, variables):
  environment(variables)
  assert find("gpu", 1) is None


def test_what_slurm_says_completes_an_address(environment, monkeypatch):
  environment({"JAX_COORDINATOR_ADDRESS": "a:1"})
  slurm = {
    "SLURM_JOB_ID": "1",
    "SLURM_STEP_NODELIST": "a,b",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NUM_NODES": "2",
  }
  for item in slurm.items():
    monkeypatch.setenv(*item)
  assert find("gpu", 1) == Cluster(address="a:1", count=4, index=2)


@pytest.mark.parametrize(
  ("variables", "error"),
  [
    ({"JAX_NUM_PROCESSES": "2"}, "JAX_NUM_PROCESSES=2 without JAX_COORDINATOR_ADDRESS: give"),
    ({"JAX_COORDINATOR_ADDRESS": "a:1"}, "without JAX_NUM_PROCESSES: give"),
    ({**JAX, "JAX_PROCESS_ID": "4"}, "JAX_PROCESS_ID=4 of JAX_NUM_PROCESSES=4: expected 0 to"),
    ({**JAX, "JAX_PROCESS_ID": "-1"}, "JAX_PROCESS_ID=-1, expected a whole number"),
    ({**JAX, "JAX_COORDINATOR_ADDRESS": "a"}, "JAX_COORDINATOR_ADDRESS=a, expected HOST:PORT"),
  ],
)
def test_what_cannot_be_is_an_error(environment, variables, error):
  environment(variables)
  with pytest.raises(ValueError, match=re.escape(error)):
    find("cpu", 1)


def test_jax_finds_clusters_by_the_function_that_is_called():
  found = clusters.ClusterEnv.auto_detect_unset_distributed_params
  assert list(inspect.signature(found).parameters) == [
    "coordinator_address",
    "num_processes",
    "process_id",
    "local_device_ids",
    "cluster_detection_method",
    "initialization_timeout",
  ]
