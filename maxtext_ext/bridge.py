"""Bridge to MaxText: every name of MaxText that the project uses is imported here.

Nothing of MaxText is replaced at run time; what the project changes, it changes by subclassing or
by arguments. `tests/bridge_test.py` holds the signatures and keys that are relied on, so a MaxText
release that moves one of them fails there first.
"""

import gc
import glob
import importlib.util
import io
import logging
import os
import pathlib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, TypeAlias

# Without this, MaxText imports Google Cloud clients, which are useless elsewhere.
os.environ.setdefault("DECOUPLE_GCLOUD", "TRUE")
# transformers warns at its import that torch is absent, which is as it should be.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# libtpu, which `plan` compiles with, prints errors on a machine without a TPU unless it has a name.
if not glob.glob("/dev/accel*") and not glob.glob("/dev/vfio/[0-9]*"):
  os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v4-8")
  os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")

import jax
import optax
from absl import logging as absl_logging
from flax import nnx
from flax.core.spmd import logical_axis_rules
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh, NamedSharding

from maxtext_ext import log


@contextmanager
def _without_extras() -> Iterator[None]:
  """Imports without TensorFlow, and without a warning for every missing optional package.

  MaxText imports TensorFlow wherever it is installed, for the name of one error: 3 s and 450 MB a
  process. Here it is hidden during the import, unless it is already loaded. Orbax adds a handler
  to the root logger, which would make a program's own `logging.basicConfig` ineffective.
  """
  handlers = list(logging.root.handlers)
  modules: dict[str, Any] = sys.modules  # None hides a module
  hidden = "tensorflow" not in modules
  if hidden:
    modules["tensorflow"] = None
  try:
    with redirect_stdout(io.StringIO()):
      yield
  finally:
    logging.root.handlers[:] = handlers
    if hidden:
      del modules["tensorflow"]


@contextmanager
def _without_collections() -> Iterator[None]:
  """Imports without garbage collection, and exempts the imported objects from it.

  The imports leave 600,000 objects that live as long as the process. Scanning them repeatedly
  takes a third of the CPU time of a start: of the import and of tracing a training step.
  """
  enabled = gc.isenabled()
  gc.disable()
  try:
    yield
  finally:
    gc.freeze()
    if enabled:
      gc.enable()


with _without_collections(), _without_extras():
  from maxtext.common import checkpoint_context, checkpointing
  from maxtext.common.common_types import (
    MODEL_MODE_AUTOREGRESSIVE,
    MODEL_MODE_PREFILL,
    MODEL_MODE_TRAIN,
  )
  from maxtext.common.train_state_nnx import TrainStateNNX as TrainState
  from maxtext.common.train_state_nnx import to_checkpoint_dict
  from maxtext.configs import pyconfig, types
  from maxtext.configs.pyconfig import HyperParameters as Config
  from maxtext.configs.types import MaxTextConfig
  from maxtext.layers import quantizations
  from maxtext.layers.embeddings import Embed
  from maxtext.layers.linears import DenseGeneral
  from maxtext.layers.moe import GateLogit, RoutedMoE
  from maxtext.models.models import Transformer
  from maxtext.utils import gcs_utils, maxtext_utils, maxtext_utils_nnx, sharding, train_utils
  from orbax.checkpoint import v1 as ocp

__all__ = [
  "MODEL_MODE_AUTOREGRESSIVE",
  "MODEL_MODE_PREFILL",
  "MODEL_MODE_TRAIN",
  "Config",
  "DenseGeneral",
  "Embed",
  "GateLogit",
  "MaxTextConfig",
  "PreservationPolicy",
  "RoutedMoE",
  "TrainState",
  "Transformer",
  "absolute",
  "abstract_params",
  "abstract_train_state",
  "checkpoint_manager",
  "clip_gradients",
  "derived_keys",
  "from_checkpoint",
  "init_train_state",
  "initialize",
  "input_sharding",
  "jit_steps",
  "keys_of",
  "load_params",
  "make_mesh",
  "make_optimizer",
  "make_quantization",
  "make_rngs",
  "mesh_scope",
  "quiet",
  "qwen3_tokenizer_path",
  "replace",
  "to_checkpoint",
  "train_text_only",
]

# What setup/install.sh adds for an accelerator.
_EXTRAS = {"tpu": "tpu", "gpu": "cuda12"}

PreservationPolicy: TypeAlias = ocp.training.preservation_policies.PreservationPolicy  # noqa: UP040  a base class


def initialize(
  values: Mapping[str, Any], literal: Collection[str], config_class: type[MaxTextConfig]
) -> Config:
  """Builds MaxText's configuration from the values of all keys.

  MaxText's `pyconfig.initialize` would read files, arguments and environment itself, each in its
  own way; log a banner; join other processes; and end the process when a value is wrong.

  Args:
    literal: keys whose values are taken as they are. MaxText reads the text none of the others as
      None, and fills in what is empty.

  Raises:
    ValueError, TypeError: for a value that MaxText refuses (pydantic's ValidationError is one).
  """
  others = {key: value for key, value in values.items() if key not in literal}
  keys = pyconfig._prepare_for_pydantic(others, config_class)
  keys |= {key: value for key, value in values.items() if key in literal}
  config = Config(config_class(**keys))
  if config.jax_debug_log_modules:
    jax.config.update("jax_debug_log_modules", config.jax_debug_log_modules)
  _keep_programs("" if config.dump_hlo else config.jax_cache_dir)  # one from there is not dumped
  if config.remat_policy is None:
    # MaxText reads the word none as None, which its decoder takes for recomputing everything.
    config = replace(config, remat_policy="none")
  return config


def _keep_programs(folder: str) -> None:
  """Sets JAX's folder of compiled programs; "": none, whatever JAX's own setting is."""
  path = os.path.expanduser(folder) or None
  if path != jax.config.jax_compilation_cache_dir:
    compilation_cache.set_cache_dir(path)
    compilation_cache.reset_cache()  # else JAX keeps the folder that it used first


def derived_keys() -> set[str]:
  """Keys that MaxText works out from others, and the one that only files give."""
  return {*types.DerivedValues.model_fields, "base_config"}


def replace(config: Config, **changes: Any) -> Config:
  """Copies `config` with some keys changed; derived keys are not updated (lengths, rows)."""
  return Config(config._pydantic_config.model_copy(update=changes))


def keys_of(config: Config) -> dict[str, Any]:
  """Returns every key of a configuration with its value."""
  return dict(config._pydantic_config)


def quiet(verbose: bool = False) -> None:
  """Silences MaxText's and Orbax's log lines, or shows all of them.

  Their errors are exceptions; of a save that fails, Orbax prints every thread's traceback before.
  In a program that imports the package, handlers and levels other than absl's stay as they are:
  absl's handler would remove those of the terminal, and mute the program's own lines.
  """
  if log.in_command() or verbose:
    absl_logging.use_absl_handler()
  absl_logging.set_verbosity(absl_logging.INFO if verbose else absl_logging.FATAL)
  absl_logging.get_absl_handler().addFilter(_not_ours)  # log.py shows them, plainly


def _not_ours(record: logging.LogRecord) -> bool:
  return not record.name.startswith("maxtext_ext")


def qwen3_tokenizer_path() -> str:
  """Returns the Qwen3 tokenizer that MaxText ships (151669 entries, without the audio tokens)."""
  spec = importlib.util.find_spec("maxtext")
  assert spec is not None and spec.origin is not None
  return str(pathlib.Path(spec.origin).parent / "assets" / "tokenizers" / "qwen3-tokenizer")


def train_text_only(argv: Sequence[str]) -> None:
  """Runs MaxText's own pre-training, without speech. `argv` as on its command line."""
  from maxtext.trainers.pre_train import train

  train.main(argv)


# Model


def make_mesh(config: Config, devices: Sequence[jax.Device] | None = None) -> Mesh:
  """Makes the device mesh of MaxText's parallelism keys, from all or from some devices.

  Raises:
    ValueError: JAX found none of the hardware that the configuration asks for, or too few devices.
  """
  asked = config.hardware.removesuffix("_multiprocess")
  if devices is None and (found := jax.default_backend()) != asked:
    raise ValueError(
      f"hardware={asked}, and JAX runs on {found}: check the machine and the extra that was"
      f" installed (setup/install.sh {_EXTRAS.get(asked, '')}), or give hardware={found}"
    )
  try:
    return maxtext_utils.get_mesh_from_config(config, devices)
  except AssertionError as error:
    raise ValueError(
      f"the products of ici_*_parallelism and dcn_*_parallelism must be the devices of a slice and"
      f" the slices: {' '.join(str(error).split())}"
    ) from error


@contextmanager
def mesh_scope(config: Config, mesh: Mesh) -> Iterator[None]:
  """Enters the scope in which a model is built, lowered and run: mesh and axis rules."""
  with jax.set_mesh(mesh), logical_axis_rules(config.logical_axis_rules):
    yield


def make_quantization(config: Config) -> Any:
  """Makes MaxText's quantization object of the configuration; None without quantization."""
  return quantizations.configure_quantization(config)


def make_rngs(config: Config, model_mode: str = MODEL_MODE_TRAIN) -> nnx.Rngs:
  """Makes random streams for building a model, from `init_weights_seed`."""
  return maxtext_utils_nnx.create_nnx_rngs(config, model_mode=model_mode)


# Training


def make_optimizer(
  config: Config, mesh: Mesh
) -> tuple[Callable[[int], jax.Array], optax.GradientTransformation]:
  """Makes the learning rate schedule and the optimizer of the configuration."""
  return train_utils.create_training_optimizer(config, None, mesh=mesh)


def clip_gradients(grads: Any, threshold: float) -> Any:
  """Clips gradients to a global norm of `threshold`."""
  return maxtext_utils.apply_gradient_clipping(grads, None, threshold)


def checkpoint_manager(
  config: Config, keep: PreservationPolicy
) -> ocp.training.Checkpointer | None:
  """Makes Orbax's manager of `checkpoint_dir`, or None when checkpointing is off.

  It is MaxText's own, except for the checkpoints that it keeps: the newest
  `max_num_checkpoints_to_keep`, and `keep`.
  """
  if not config.enable_checkpointing:
    return None
  context = checkpoint_context.build_context(
    use_ocdbt=config.checkpoint_storage_use_ocdbt,
    use_zarr3=config.checkpoint_storage_use_zarr3,
    ocdbt_target_data_file_size_bytes=config.checkpoint_storage_target_data_file_size_bytes,
    checkpoint_storage_concurrent_gb=config.checkpoint_storage_concurrent_gb,
    todelete_subdir=config.checkpoint_todelete_subdir,
    todelete_full_path=config.checkpoint_todelete_full_path,
    partial_load=True,
  )
  newest = ocp.training.preservation_policies.LatestN(config.max_num_checkpoints_to_keep)
  return ocp.training.Checkpointer(
    # Orbax refuses relative paths, and only when it saves.
    gcs_utils.mkdir_and_check_permissions(absolute(config.checkpoint_dir)),
    context=context,
    save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(
      config.checkpoint_period
    ),
    preservation_policy=ocp.training.preservation_policies.AnyPreservationPolicy([newest, keep]),
  )


def absolute(path: str) -> str:
  """Makes a local path absolute; returns a URL such as gs://bucket unchanged."""
  return path if "://" in path else os.path.abspath(path)


def init_train_state(
  config: Config, mesh: Mesh, manager: Any | None, init_fn: Callable[[], TrainState]
) -> tuple[nnx.State, Any, bool]:
  """Makes the sharded train state: restored from `manager`, from `load_parameters_path`, or new.

  Returns:
    the state, its shardings, and whether anything was restored.
  """
  state, _, shardings, _, restored = maxtext_utils.setup_training_state(
    None, config, mesh, manager, init_fn
  )
  return state, shardings, restored


def abstract_train_state(
  config: Config, mesh: Mesh, init_fn: Callable[[], TrainState]
) -> tuple[nnx.State, Any]:
  """Returns the train state's shapes and dtypes on the mesh, and its shardings."""
  state, _, shardings = maxtext_utils.get_abstract_state(config, mesh, init_fn, is_training=True)
  return state, shardings


def to_checkpoint(state: nnx.State) -> dict[str, Any]:
  """Converts the state to MaxText's layout on disk, which MaxText's own tools read."""
  return to_checkpoint_dict(state)


def from_checkpoint(items: dict[str, Any], abstract: nnx.State) -> nnx.State:
  """Inverts `to_checkpoint`; returns a state of the form of `abstract`."""
  return checkpointing._linen_items_to_nnx(items, abstract)


def abstract_params(config: Config, mesh: Mesh, make: Callable[[], nnx.Module]) -> nnx.State:
  """Returns the shapes, dtypes and shardings on the mesh of a model's parameters."""
  abstract, _, _ = maxtext_utils.get_abstract_state(
    config, mesh, lambda: TrainState(make(), None), is_training=False
  )
  return nnx.split_state(abstract["model"], nnx.Param, ...)[0]


def load_params(config: Config, mesh: Mesh, path: str, make: Callable[[], nnx.Module]) -> nnx.State:
  """Loads the parameters of a checkpoint (its step folder or `items`), sharded for `mesh`.

  Raises:
    ValueError: when a parameter of the model is missing there or has another shape.
  """
  return checkpointing.load_params_from_path(
    absolute(path),
    abstract_params(config, mesh, make),
    config.checkpoint_storage_concurrent_gb,
    config.checkpoint_storage_use_ocdbt,
    config.checkpoint_storage_use_zarr3,
  )


def input_sharding(config: Config, mesh: Mesh) -> NamedSharding:
  """Returns the sharding of a batch: rows over every data axis of the mesh."""
  return sharding.get_input_data_sharding(config, mesh)


def jit_steps(
  config: Config,
  mesh: Mesh,
  graphdef: Any,
  state: nnx.State,
  state_shardings: Any,
  train_step: Callable[..., Any],
  eval_step: Callable[..., Any],
) -> tuple[jax.stages.Wrapped, jax.stages.Wrapped]:
  """Makes train and eval steps, compiled on first use, with MaxText's shardings and donation."""
  params_shardings, state_shardings = sharding.maybe_update_params_sharding_with_opt(
    config, state_shardings
  )
  return train_utils.jit_train_and_eval_step(
    config, graphdef, mesh, state, state_shardings, train_step, eval_step, True, params_shardings
  )
