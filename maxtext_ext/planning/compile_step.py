"""Compilation of the real training step for chips that are not present.

Runs in a process of its own (`worker`), whose environment tells libtpu which chips to assume.
"""

import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental.topologies import get_topology_desc
from jax.sharding import SingleDeviceSharding

from maxtext_ext import bridge
from maxtext_ext.config import load
from maxtext_ext.input.bucketed import max_targets
from maxtext_ext.input.buckets import rows_of, windows_of
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.layouts import LAYOUTS
from maxtext_ext.keys.yml import Chain
from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.models.make import make_model, model_class
from maxtext_ext.planning import memory
from maxtext_ext.planning.collectives import sent_bytes
from maxtext_ext.planning.compiler import Compiled
from maxtext_ext.planning.cost import Cost
from maxtext_ext.planning.memory import Memory
from maxtext_ext.planning.topology import Slice
from maxtext_ext.train.optimizer import make_optimizer
from maxtext_ext.train.step import eval_step, make_init_fn, train_step

# Share of a row's tokens that are audio where windows_per_row is not given; as of speech at 3 to 4
# words a second in Latin, Arabic or Hebrew letters.
AUDIO_SHARE = 0.76
# For counting: else products of arrays that tensor parallelism divides become loops, whose bodies
# are counted once.
WITHOUT_LOOPS = {
  "xla_tpu_enable_windowed_einsum_for_all_gather": False,
  "xla_tpu_enable_windowed_einsum_for_reduce_scatter": False,
}
# More bytes than any chip has: a program that is refused, in words that tell what there is.
_TOO_MUCH = 2**44


def devices_of(target: Slice) -> list[jax.Device]:
  """Returns descriptions of the chips of a slice, for compiling only."""
  return get_topology_desc(
    platform="tpu",
    topology_name=target.compiler_topology,
    chips_per_host_bounds=target.chips_per_host,
    num_slices=1,
    chip_config_name="megacore" if target.chip.megacore else "default",
    wrap=target.wrap,
  ).devices


def available_bytes(device: jax.Device) -> float:
  """Returns the bytes of memory that a program may use on such a chip."""
  argument = jax.ShapeDtypeStruct((_TOO_MUCH,), jnp.int8, sharding=SingleDeviceSharding(device))
  try:
    jax.jit(lambda x: x + 1).lower(argument).compile()
  except jax.errors.JaxRuntimeError as error:
    refusal = memory.of_refusal(str(error))
    if refusal is None:
      raise
    return refusal.available
  raise AssertionError("no chip has 16 TiB")


def load_for(files: str | Chain, overrides: Sequence[str], target: Slice) -> bridge.Config:
  """Reads the configuration as a run on that slice would.

  Args:
    files: the configuration, or what `read_chain` has read of it.
    overrides: keys that win over the files'.
    target: the slice.

  Raises:
    ConfigError: as `config.load`.
  """
  resolved = [
    "enable_checkpointing=false",
    "load_parameters_path=",  # shapes alone matter, and the weights need not be here yet
    "log_config=false",
    "jax_cache_dir=",  # a program for chips that are elsewhere cannot be read back
    "skip_jax_distributed_system=true",
  ]
  if target.compiled:
    resolved += ["hardware=tpu", f"compile_topology={target.name}", "compile_topology_num_slices=1"]
  else:
    resolved += ["hardware=gpu"]
  if any(key.startswith("per_device_batch_size=") for key in overrides):
    resolved += ["per_device_batch_seconds=0"]  # these rows, whatever their length
  config = load(files, [*overrides, *resolved])
  if not has_decoder(config):
    return _of_longest_clips(config)
  if config.windows_per_row:
    return config
  tokens = encoder_config(config).geometry.tokens_per_window
  windows = max(1, round(AUDIO_SHARE * config.max_target_length / tokens))
  return bridge.replace(config, windows_per_row=windows)


def has_decoder(config: bridge.Config) -> bool:
  """Returns whether the model has MaxText's decoder behind its encoder."""
  return issubclass(model_class(config), bridge.Transformer)


def _of_longest_clips(config: bridge.Config) -> bridge.Config:
  """Returns the configuration for a model whose rows are one clip, with rows of `max_seconds`.

  They need the most memory. Of the decoder, which there is not, plans count no layers.
  """
  inputs = InputConfig.from_config(
    config, split=config.train_split, rows=config.global_batch_size_to_load
  )
  windows = windows_of(inputs, config.max_seconds)
  rows = rows_of(inputs, windows)
  return bridge.replace(
    config,
    windows_per_row=windows,
    per_device_batch_size=rows // inputs.row_multiple,
    per_device_batch_seconds=0.0,
    global_batch_size_to_load=rows,
    max_target_length=max_targets(inputs, windows),
    num_decoder_layers=0,
    emb_dim=encoder_config(config).out_dim,
  )


def abstract_batch(
  config: bridge.Config, mesh: jax.sharding.Mesh
) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes of a batch of all hosts, as the layout of the model makes them."""
  inputs = InputConfig.from_config(
    config, split=config.train_split, rows=config.global_batch_size_to_load
  )
  spec = LAYOUTS[inputs.layout].batch_spec(inputs, inputs.rows)
  placement = bridge.input_sharding(config, mesh)
  return {
    name: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=placement)
    for name, array in spec.items()
  }


def compile_step(
  config: bridge.Config,
  devices: Sequence[jax.Device],
  available: float,
  *,
  with_cost: bool,
  effort: str,
) -> Compiled:
  """Lowers and compiles the step that `train` would run.

  Args:
    available: `available_bytes` of such a chip.
    with_cost: also what it computes and sends; else `cost` is None.
    effort: the compiler's, O0 to O3. The lowest takes a tenth of the time of the usual one.

  Raises:
    ValueError: the configuration cannot be sharded over these chips.
  """
  started = time.monotonic()
  mesh = bridge.make_mesh(config, devices)
  _, tx = make_optimizer(config, mesh)
  init_fn = make_init_fn(config, lambda: make_model(config, mesh), tx)
  with bridge.mesh_scope(config, mesh):
    graphdef = nnx.graphdef(nnx.eval_shape(init_fn))
  state, shardings = bridge.abstract_train_state(config, mesh, init_fn)
  step, _ = bridge.jit_steps(config, mesh, graphdef, state, shardings, train_step, eval_step)
  with bridge.mesh_scope(config, mesh):
    lowered = step.lower(state, abstract_batch(config, mesh))
  options = {"optimization_level": effort, **(WITHOUT_LOOPS if with_cost else {})}
  compiled = compile_or_refuse(lowered, options)
  if isinstance(compiled, Memory):
    return Compiled(memory=compiled, cost=None, seconds=time.monotonic() - started)
  return Compiled(
    memory=memory.of_compiled(compiled.memory_analysis(), available),
    cost=cost_of(compiled, len(devices)) if with_cost else None,
    seconds=time.monotonic() - started,
  )


def compile_or_refuse(lowered: Any, options: dict[str, Any]) -> Any:
  """Compiles a program; returns the Memory that it needs where that is more than there is."""
  try:
    return lowered.compile(compiler_options=options)
  except jax.errors.JaxRuntimeError as error:
    refusal = memory.of_refusal(str(error))
    if refusal is None:
      raise
    return refusal


def cost_of(compiled: Any, chips: int) -> Cost:
  """Returns what a program computes, moves and sends, compiled with WITHOUT_LOOPS."""
  analysis, program = compiled.cost_analysis(), compiled.as_text()
  assert analysis is not None and program is not None  # the compilers for TPU and GPU give both
  return Cost(
    flops=analysis["flops"],
    hbm_bytes=analysis["bytes accessed"],
    sent_bytes=sum(sent_bytes(program, chips).values(), 0.0),
  )
