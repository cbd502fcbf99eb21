"""Training adapters: what moves, what is saved, and a resume that is bit for bit the same."""

import json
import pathlib
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from orbax.checkpoint import v1 as ocp

from maxtext_ext import Transcriber, bridge
from maxtext_ext.checkpoint.adapter import read_record
from maxtext_ext.checkpoint.merge import export_adapter, merge_adapter
from maxtext_ext.checkpoint.orbax_io import ParamsReader
from maxtext_ext.config import load
from maxtext_ext.decode.decode import load_weights
from maxtext_ext.train.loop import main
from tests import tiny

LORA = (
  "lora_rank=3",
  "lora_alpha=6",
  "lora_targets=[attention,ffn,audio_tower,projector]",
  "scan_layers=true",
)

SMALL = (  # to compile fast
  "per_device_batch_size=2",
  "max_target_length=128",
  "windows_per_row=1",
  "max_seconds=4",
  "remat_policy=minimal",
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
  """`key=value` strings of LoRA runs on a base of one step."""
  keys = [*tiny.make_run(tmp_path_factory.mktemp("run"), train=24), *SMALL]
  base = main(tiny.DEMO, [*keys, "scan_layers=true", "run_name=base", "steps=1"])
  more = ["learning_rate=0.01", "checkpoint_period=2", "steps=4"]
  return [*keys, *LORA, f"load_parameters_path={base.run_dir}", *more]


@pytest.fixture(scope="module")
def whole(keys):
  """The folder of a LoRA run of four steps."""
  return main(tiny.DEMO, [*keys, "run_name=whole", "eval_interval=2", "eval_clips=0"]).run_dir


def losses(run_dir: str, name: str = "loss") -> list[float]:
  lines = pathlib.Path(run_dir, "metrics.jsonl").read_text("utf-8").splitlines()
  return [line[name] for line in map(json.loads, lines) if name in line]


def saved(run_dir: str, step: int) -> dict[str, np.ndarray]:
  """The numeric arrays of a checkpoint's state by path."""
  items = ocp.load_checkpointables(pathlib.Path(run_dir, "checkpoints", str(step)))["items"]
  flat = {}

  def walk(path, value):
    if isinstance(value, dict | list):
      for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        walk(f"{path}/{key}", inner)
    elif value is not None and jnp.issubdtype(value.dtype, jnp.number):
      flat[path] = np.asarray(value)

  walk("", items)
  return flat


def test_a_checkpoint_holds_adapters_and_their_optimizer_state_only(whole, keys):
  arrays = saved(whole, 4)
  params = {path for path in arrays if path.startswith("/params/")}
  assert params and all(path.endswith(("_lora_a", "_lora_b")) for path in params)
  for moment in ("mu", "nu"):
    moments = {path.split(f"/{moment}/params/")[1] for path in arrays if f"/{moment}/" in path}
    assert moments == {path.removeprefix("/params/params/") for path in params}
  assert arrays["/step"] == 4
  record = read_record(f"{whole}/checkpoints/4/items")
  assert (record.lora.rank, record.lora.alpha) == (3, 6.0)
  assert record.lora.targets == ("attention", "ffn", "audio_tower", "projector")
  assert record.base_path.endswith("/base/checkpoints/1/items")


def test_a_run_learns_with_its_adapters_and_its_base_stays(whole):
  # On the same clips: the losses of training are of others in every step.
  halfway, end = losses(whole, "eval_loss")
  assert end < halfway
  first, last = saved(whole, 2), saved(whole, 4)
  moved = [path for path in last if path.startswith("/params/") and path.endswith("_lora_b")]
  assert all(np.abs(last[path] - first[path]).max() > 0 for path in moved)


def test_a_resumed_run_is_bit_identical(keys, whole):
  main(tiny.DEMO, [*keys, "run_name=cut", "steps=2", "learning_rate_schedule_steps=4"])
  resumed = main(tiny.DEMO, [*keys, "run_name=cut"]).run_dir
  assert losses(resumed) == losses(whole)
  ours, theirs = saved(resumed, 4), saved(whole, 4)
  assert ours.keys() == theirs.keys()
  assert not [path for path in ours if not np.array_equal(ours[path], theirs[path])]


def test_decoding_takes_base_and_adapters(keys, whole):
  config = load(tiny.DEMO, [*keys, "run_name=whole"])
  mesh = bridge.make_mesh(config)
  config, params = load_weights(config, mesh)
  arrays = saved(whole, 4)
  base = saved(str(pathlib.Path(whole).parent / "base"), 1)
  loaded = {f"/params/params/{k}": v for k, v in flat(params).items()}
  for path, value in loaded.items():
    np.testing.assert_array_equal(value, (arrays if "_lora_" in path else base)[path])
  # The run's folder alone says as much.
  bare = [key for key in keys if not key.startswith(("lora_", "load_parameters_path"))]
  config, again = load_weights(load(tiny.DEMO, [*bare, "run_name=whole"]), mesh)
  assert config.lora_rank == 3
  assert {k: v.tobytes() for k, v in flat(again).items()} == {
    k: v.tobytes() for k, v in flat(params).items()
  }


def flat(state) -> dict[str, np.ndarray]:
  return {
    "/".join(map(str, path)): np.asarray(v.get_value()) for path, v in nnx.to_flat_state(state)
  }


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ("lora_rank=2", "lora_rank is 2, was 3"),
    ("lora_rank=0", "lora_rank is 0, was 3"),
    ("load_parameters_path=", "load_parameters_path is init_weights_seed=0, was "),
  ],
)
def test_going_on_with_other_keys_is_a_clear_error(keys, whole, change, message):
  name = change.split("=")[0]
  others = [key for key in keys if not key.startswith(f"{name}=")]
  with pytest.raises(ValueError, match=message):
    main(tiny.DEMO, [*others, change, "run_name=whole", "steps=5"])


def test_a_base_that_moved_is_known_and_one_that_changed_is_not(keys, whole, tmp_path):
  base = pathlib.Path(whole).parent / "base"
  shutil.copytree(base, tmp_path / "moved")
  others = [key for key in keys if not key.startswith("load_parameters_path")]
  moved = f"load_parameters_path={tmp_path / 'moved'}"
  assert main(tiny.DEMO, [*others, moved, "run_name=whole"]).steps == 4
  with (tmp_path / "moved" / "checkpoints" / "1" / "items" / "_METADATA").open("a") as file:
    file.write(" ")
  with pytest.raises(ValueError, match=r"the base weights lay at .*moved/.*; a copy of them will"):
    main(tiny.DEMO, [*others, moved, "run_name=whole"])
  with pytest.raises(ValueError, match="holds adapters; give the weights"):
    main(tiny.DEMO, [*others, f"load_parameters_path={whole}", "run_name=onto adapters"])


def test_a_base_that_is_given_once_is_remembered(keys, whole, tmp_path):
  """By decoding and by a transcriber; without it they say in one line how to go on."""
  base = pathlib.Path(whole).parent / "base"
  copy = tmp_path / "runs"
  copy.mkdir()
  shutil.copytree(whole, copy / "whole")
  moved, gone = tmp_path / "moved", f"load_parameters_path={base}"
  others = [key for key in keys if not key.startswith(("load_parameters_path", "base_output"))]
  others += [f"base_output_directory={copy}", "run_name=whole"]
  items = str(copy / "whole" / "checkpoints" / "4" / "items")
  mesh = bridge.make_mesh(load(tiny.DEMO, others))
  (copy / "whole" / "run.json").unlink()  # in which another test's copy of the base may stand
  base.rename(moved)
  try:
    with pytest.raises(ValueError, match=r"its adapters were trained on are missing.* once"):
      load_weights(load(tiny.DEMO, others), mesh, items)
    with pytest.raises(ValueError, match="if it was moved, give the folder where it is now"):
      load_weights(load(tiny.DEMO, [*others, gone]), mesh, items)
    wrong = [*others, f"load_parameters_path={copy / 'whole'}"]
    with pytest.raises(ValueError, match="other weights are at"):
      load_weights(load(tiny.DEMO, wrong), mesh, items)
    config = load(tiny.DEMO, [*others, f"load_parameters_path={moved}"])
    _, params = load_weights(config, mesh, items)
    assert json.loads((copy / "whole" / "run.json").read_text())["base"].startswith(str(moved))
    for once in (others, [*others, gone]):
      _, again = load_weights(load(tiny.DEMO, once), mesh, items)
      assert flat(again).keys() == flat(params).keys()
    (copy / "whole" / "run.json").unlink()
    Transcriber.from_pretrained(copy / "whole", load_parameters_path=moved)
    Transcriber.from_pretrained(copy / "whole")
  finally:
    moved.rename(base)


@pytest.fixture
def beside(keys):
  """Keys of a run that trains the projector beside the adapters of attention and of itself."""
  others = [key for key in keys if not key.startswith("lora_targets")]
  mixed = ["lora_targets=[attention,projector]", "lora_dropout=0.1"]
  return [*others, *mixed, "train_parts={adapters: 1.0e-2, projector: 2.0e-3}"]


@pytest.mark.slow
def test_parts_beside_the_adapters_are_saved_resumed_decoded_and_merged(beside, tmp_path):
  whole = main(tiny.DEMO, [*beside, "run_name=beside"]).run_dir
  main(tiny.DEMO, [*beside, "run_name=beside-cut", "steps=2", "learning_rate_schedule_steps=4"])
  resumed = main(tiny.DEMO, [*beside, "run_name=beside-cut"]).run_dir
  assert losses(resumed) == losses(whole)
  arrays, again = saved(whole, 4), saved(resumed, 4)
  assert arrays.keys() == again.keys()
  assert not [path for path in arrays if not np.array_equal(arrays[path], again[path])]

  base = saved(str(pathlib.Path(whole).parent / "base"), 1)
  trained = {path for path in arrays if path.startswith("/params/") and "_lora_" not in path}
  assert trained == {path for path in base if path.startswith("/params/params/projector/")}
  assert all(not np.array_equal(arrays[path], base[path]) for path in trained)

  config = load(tiny.DEMO, [*beside, "run_name=beside"])
  _, params = load_weights(config, bridge.make_mesh(config))
  for path, value in flat(params).items():
    at = f"/params/params/{path}"
    np.testing.assert_array_equal(value, arrays[at] if at in arrays else base[at])
  merge_adapter(whole, str(tmp_path / "merged"))
  merged = ParamsReader(f"{tmp_path}/merged/0/items")
  bias = merged.open("projector/linear_1/bias")
  np.testing.assert_array_equal(
    bias.read((slice(None),)), arrays["/params/params/projector/linear_1/bias"]
  )
  with pytest.raises(ValueError, match="trained projector beside its adapters"):
    export_adapter(whole, str(tmp_path / "peft"))
  without = [key for key in beside if not key.startswith("train_parts")]
  with pytest.raises(ValueError, match=r"train_parts is {}, was .*projector"):
    main(tiny.DEMO, [*without, "run_name=beside", "steps=5"])
