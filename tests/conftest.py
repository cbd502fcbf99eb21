"""Set-up of every test: the device it runs on, no network, reproducible examples."""

import functools
import gc
import os
import signal
import sys
import tempfile
import types
from importlib.machinery import SourceFileLoader
from unittest import mock

import jaxtyping
import pytest
from checked import jaxtyped_where_shaped
from hypothesis import settings
from jaxtyping import _import_hook

# Set before anything imports jax. To choose another device: JAX_PLATFORMS=cuda make test
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("DECOUPLE_GCLOUD", "TRUE")  # MaxText then asks for no Google credentials
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # processes share one GPU

# Most of a test's time is compiling what then runs for a second, so it is compiled quickly rather
# than well, here and in the processes that tests start: training tests take a fifth less CPU.
if os.environ["JAX_PLATFORMS"] == "cpu":
  quickly = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
  os.environ.setdefault("XLA_FLAGS", quickly)

# Processes of one test run share the programs that they compile: the folder is made anew by the
# first, and found in the environment by the workers of pytest-xdist and all that tests start.
if "PYTEST_XDIST_WORKER" not in os.environ:
  programs = tempfile.TemporaryDirectory(prefix="maxtext_ext-programs-")
  os.environ["JAX_COMPILATION_CACHE_DIR"] = programs.name
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

# As in an activated environment, `python3` is this Python to the scripts that tests start, hundreds
# of them. What a version manager puts there, a script that looks for one, takes 0.1 s of CPU each.
if "PYTEST_XDIST_WORKER" not in os.environ:
  os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])

# A suite that is started in the background ignores SIGINT, and so would the processes that tests
# start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
  signal.signal(signal.SIGINT, signal.default_int_handler)

# The garbage collector need not walk through what the tests import, neither now nor when they run:
# see pytest_collection_finish.
gc.disable()

# MaxText imports TensorFlow where it finds it, for the name of one error: 3 s and 450 MB a process.
# Users do not have it, and the test that needs it starts a process of its own.
sys.modules["tensorflow"] = None


def _code_of(loader: _import_hook._JaxtypingLoader, name: str) -> types.CodeType:
  """Returns the code of a module of the package, from jaxtyping's own cache if it is there."""
  cached = functools.partial(
    _import_hook._optimized_cache_from_source, loader._typechecker.get_hash()
  )
  with mock.patch("importlib._bootstrap_external.cache_from_source", cached):
    return SourceFileLoader.get_code(loader, name)


# jaxtyping looks into its own cache for what a module of the package imports, too, and so compiles
# 3000 modules of MaxText, transformers and others from their source in each process.
_import_hook._JaxtypingLoader.exec_module = SourceFileLoader.exec_module
_import_hook._JaxtypingLoader.get_code = _code_of

jaxtyping.jaxtyped = jaxtyped_where_shaped

# Wall-clock deadlines fail on a busy machine, and the first call of a jitted function compiles.
settings.register_profile("project", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("project")

DEVICE_MARKERS = {"cpu_only": "cpu", "gpu_only": "cuda", "tpu_only": "tpu"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
  """Deselects the tests that are marked for a device other than this run's; long files first.

  Processes that share the work then end at about the same time: what is left at the end is short.
  """
  device = os.environ["JAX_PLATFORMS"].split(",")[0].replace("gpu", "cuda")
  elsewhere = [
    item
    for item in items
    if (wanted := {d for marker, d in DEVICE_MARKERS.items() if item.get_closest_marker(marker)})
    and device not in wanted
  ]
  if elsewhere:
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in set(elsewhere)]
  slow = {item.path for item in items if item.get_closest_marker("slow")}
  items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
  """Leaves the objects of all imports out of garbage collections from now on."""
  gc.freeze()
  gc.enable()


@pytest.fixture
def gcs(monkeypatch):
  """A storage server with the bucket `bucket`, which gs:// leads to."""
  import gcs_server

  with gcs_server.serving(monkeypatch, "bucket") as server:
    yield server


@pytest.fixture(params=["local", "memory", "gs"])
def root(request, tmp_path):
  """An empty folder of every kind that storage knows."""
  match request.param:
    case "local":
      yield str(tmp_path)
    case "memory":
      import fsspec

      fsspec.filesystem("memory").store.clear()
      yield "memory://root/folder"
    case "gs":
      request.getfixturevalue("gcs")
      yield "gs://bucket/folder"
