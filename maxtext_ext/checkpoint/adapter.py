"""Checkpoints of a LoRA run: adapters and optimizer state, and which base weights they belong to.

The part `adapter` of a checkpoint says in JSON what the adapters are; the base weights stay where
they were, but for those of parts that train beside the adapters (`train_parts`): they are saved
with them. A run, one of its checkpoints and the checkpoint's `items` are all accepted as weights:
base and adapters are then joined.
"""

import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

import jax
import pydantic
from etils import epath
from flax import nnx
from jax.sharding import Mesh
from orbax.checkpoint import v1 as ocp

from maxtext_ext import bridge
from maxtext_ext.checkpoint.base import find_base, identify
from maxtext_ext.checkpoint.integrity import Verification
from maxtext_ext.files import foreign_json
from maxtext_ext.models.lora import LoraConfig
from maxtext_ext.models.parameter_groups import InGroups, trainable
from maxtext_ext.models.parts import ADAPTERS

# Name of the part of a checkpoint.
ADAPTER = "adapter"


class _Lora(foreign_json.Schema):
  rank: int
  alpha: float
  targets: list[str]


class _Peft(foreign_json.Schema):
  config: str
  naming: str
  dtype: Literal["F32", "F16", "BF16"]
  metadata: dict[str, str] | None


class _Record(foreign_json.Schema):
  """`AdapterRecord` in JSON; older ones lack its later fields."""

  lora: _Lora
  base_path: str
  base_identity: str
  parts: list[str] = pydantic.Field(default_factory=lambda: [ADAPTERS])
  peft: _Peft | None = None


@dataclass(frozen=True, kw_only=True)
class AdapterRecord:
  """Description of adapters and their base weights.

  Attributes:
    lora: rank, alpha and targets.
    base_path: the weights that they were trained on; empty: random ones from a seed.
    base_identity: distinguishes these weights from others at that path.
    parts: the parts of the model that trained, whose weights lie with the adapters.
    peft: of an imported adapter, what its files said beside the numbers (`checkpoint.peft`).
  """

  lora: LoraConfig
  base_path: str
  base_identity: str
  parts: tuple[str, ...] = (ADAPTERS,)
  peft: dict[str, Any] | None = None

  def to_json(self) -> str:
    """The record as text."""
    return json.dumps(dataclasses.asdict(self))

  @classmethod
  def from_json(cls, text: str) -> Self:
    """The record that `to_json` wrote.

    Raises:
      ValueError: it is none.
    """
    source = "the record of the adapters"
    content = foreign_json.parse(text.encode(), source)
    fields = foreign_json.check(_Record, content, source).model_dump()
    lora = fields.pop("lora")
    lora = LoraConfig(**{**lora, "targets": tuple(lora["targets"])})
    return cls(**{**fields, "lora": lora, "parts": tuple(fields["parts"])})

  @classmethod
  def from_config(cls, config: bridge.Config) -> Self | None:
    """Builds the record of a configuration's run; None when it trains every weight.

    Raises:
      ValueError: `load_parameters_path` are adapters themselves, or nothing.
    """
    path = config.load_parameters_path
    if path and read_record(path) is not None:
      raise ValueError(
        f"load_parameters_path={path} holds adapters; give the weights that they belong to, or"
        " what `maxtext-ext convert merge-adapter` writes for them"
      )
    if (lora := LoraConfig.from_config(config)) is None:
      return None
    identity = identify(path) if path else f"init_weights_seed={config.init_weights_seed}"
    return cls(
      lora=lora,
      base_path=bridge.absolute(path) if path else "",
      base_identity=identity,
      parts=tuple(sorted(trainable(config).groups)),
    )

  def saved(self, config: bridge.Config) -> InGroups:
    """The filter of the parameters that a checkpoint holds, for the model of a configuration."""
    return InGroups.of(config, self.parts)

  def require_same(self, stored: Self, place: str) -> None:
    """Raises ValueError when the adapters at `place` are others than these."""
    if self.lora != stored.lora:
      raise ValueError(f"{place} holds adapters of other keys; give {_keys(stored.lora)}")
    if self.parts != stored.parts:
      raise ValueError(
        f"{place} is of a run that trained {', '.join(stored.parts)}, got {', '.join(self.parts)}:"
        " name the same in train_parts, or give another run_name"
      )
    if self.base_identity != stored.base_identity:
      actual = self.base_path or f"none ({self.base_identity})"
      wanted = stored.base_path or f"none, and {stored.base_identity}"
      raise ValueError(
        f"{place} holds adapters of other weights: got load_parameters_path={actual}, expected"
        f" {wanted} (or a copy of it, unchanged)"
      )


def _keys(lora: LoraConfig) -> str:
  targets = ",".join(lora.targets)
  return f"lora_rank={lora.rank} lora_alpha={lora.alpha:.17g} lora_targets=[{targets}]"


def read_record(items: str) -> AdapterRecord | None:
  """Reads the record beside a checkpoint's `items`; None where they are full weights."""
  checkpoint = epath.Path(bridge.absolute(items)).parent
  if not (checkpoint / ADAPTER).exists():
    return None
  return AdapterRecord.from_json(
    ocp.load_checkpointables(checkpoint, {ADAPTER: None})[ADAPTER]["record"]
  )


def trained_part(state: nnx.State, saved: InGroups) -> nnx.State:
  """A train state without the base weights: what trains, optimizer, random streams."""
  return state.filter(
    lambda path, variable: (
      path[0] == "optimizer" or not isinstance(variable, nnx.Param) or saved(path[1:], variable)
    )
  )


def with_adapter(config: bridge.Config, record: AdapterRecord) -> bridge.Config:
  """The configuration under which `record`'s adapters live on their base."""
  return bridge.replace(
    config,
    lora_rank=record.lora.rank,
    lora_alpha=record.lora.alpha,
    lora_targets=list(record.lora.targets),
    load_parameters_path=record.base_path,
  )


def load_weights(
  config: bridge.Config,
  mesh: Mesh,
  items: str,
  make: Callable[[bridge.Config], nnx.Module],
  *,
  base: str = "",
) -> tuple[bridge.Config, nnx.State]:
  """The parameters of a checkpoint, base and adapters together where it holds adapters.

  Args:
    items: as `checkpoint.training.find_weights` gives it.
    make: builds the model of a configuration.
    base: where the weights under the adapters may lie now, see `base.find_base`.

  Returns:
    the configuration, with the `lora_*` keys of the checkpoint, and its model's parameters.

  Raises:
    ValueError: a parameter is missing or of another shape, or the weights that the adapters were
      trained on are not found.
  """
  record = read_record(items)
  if record is None:
    config = bridge.replace(config, lora_rank=0)
    with Verification(items):
      return config, bridge.load_params(config, mesh, items, lambda: make(config))
  if record.base_path:
    record = dataclasses.replace(record, base_path=base_of(items, record, base))
  config = with_adapter(config, record)
  if record.base_path:
    with Verification(record.base_path):
      params = bridge.load_params(config, mesh, record.base_path, lambda: make(config))
  else:
    with bridge.mesh_scope(config, mesh):
      params = jax.jit(lambda: nnx.state(make(config), nnx.Param))()
  with Verification(items):
    adapters = load_adapters(items, params.filter(record.saved(config)))
  return config, nnx.merge_state(params, adapters)


def base_of(items: str, record: AdapterRecord, explicit: str = "") -> str:
  """Finds the weights that the adapters at `items` were trained on, and returns their path.

  Raises:
    ValueError: they are not found.
  """
  return find_base(items, path=record.base_path, identity=record.base_identity, explicit=explicit)


def load_adapters(items: str, abstract: nnx.State) -> nnx.State:
  """The parameters of a LoRA checkpoint, sharded as `abstract`'s arrays or shapes are.

  Raises:
    ValueError: the checkpoint lacks some, or holds them in another shape.
  """
  target = jax.tree.map(_shape, abstract).to_pure_dict()
  context = ocp.Context()
  context.pytree.loading.partial_load = True
  with context:
    restored = ocp.load(
      epath.Path(bridge.absolute(items)).parent,
      {"params": {"params": target}},
      checkpointable_name=os.path.basename(items),
    )["params"]["params"]
  loaded = jax.tree.map(lambda x: x, abstract)
  nnx.replace_by_pure_dict(loaded, restored)
  missing = [
    "/".join(map(str, path))
    for path, variable in nnx.to_flat_state(loaded)
    if not isinstance(variable.get_value(), jax.Array)
  ]
  if missing:
    raise ValueError(f"{items}: no adapter there for {', '.join(missing)}")
  return loaded


def restore(manager: Any, step: int, name: str, state: nnx.State, saved: InGroups) -> nnx.State:
  """The train state with what trains, optimizer and random streams from a checkpoint of the run.

  A checkpoint of step 0 holds only an imported adapter.
  """
  if step == 0:
    items = os.path.join(manager.directory, "0", name)
    model = load_adapters(items, state["model"].filter(nnx.LoRAParam))
    return nnx.merge_state(state, nnx.State({"model": model}))
  abstract = jax.tree.map(_shape, trained_part(state, saved))
  restored = manager.load_checkpointables(step, {name: bridge.to_checkpoint(abstract)})[name]
  return nnx.merge_state(state, bridge.from_checkpoint(restored, abstract))


def _shape(x: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
