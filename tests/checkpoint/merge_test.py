"""PEFT adapters in, out and merged: bytes, and the logits of transformers with PEFT."""

import dataclasses
import json
import pathlib
import re
import shutil

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from benchmarks.parity import models
from benchmarks.parity.peft import FILES, clips, error, logits
from benchmarks.parity.references import lora as golden
from benchmarks.parity.references import ours, qwen3_asr_files
from benchmarks.parity.references.qwen3_asr import REFERENCE
from benchmarks.parity.references.qwen3_omni import REFERENCE as OMNI
from maxtext_ext import bridge
from maxtext_ext.checkpoint import adapter
from maxtext_ext.checkpoint.convert import to_maxtext
from maxtext_ext.checkpoint.export import to_hf
from maxtext_ext.checkpoint.keymap import KeyTableError, our_shapes
from maxtext_ext.checkpoint.merge import export_adapter, import_adapter, merge_adapter
from maxtext_ext.checkpoint.peft import Adapters, read_peft, write_peft
from maxtext_ext.checkpoint.peft_rules import adapter_rules, sizes_of
from maxtext_ext.config import load
from maxtext_ext.models.lora import KernelAxes, LoraConfig, kernel_update


@dataclasses.dataclass(frozen=True)
class Folders:
  """A Hugging Face checkpoint, converted, and a run of PEFT's adapter on it."""

  hf: pathlib.Path
  base: pathlib.Path
  run: pathlib.Path
  scanned: bool


@pytest.fixture(scope="module", params=[True, False], ids=["scanned", "unscanned"])
def folders(request, tmp_path_factory):
  folder = tmp_path_factory.mktemp("adapters")
  made = Folders(folder / "hf", folder / "base", folder / "runs" / "imported", request.param)
  qwen3_asr_files.write(made.hf, "native")
  to_maxtext(str(made.hf), str(made.base), scanned=made.scanned)
  import_adapter(str(golden.ADAPTER), str(made.base), str(made.run))
  return made


def test_logits_equal_those_of_peft(folders):
  found = logits(str(folders.run))
  errors = [error(found[clip.sample_id], clip) for clip in clips()]
  print(f"PEFT: {max(errors):.1e} of the largest logit")
  assert max(errors) < models.TOLERANCE


def test_merged_logits_equal_live_ones_and_go_back_to_hugging_face(folders, tmp_path):
  merge_adapter(str(folders.run), str(tmp_path / "merged"))
  if folders.scanned:  # of unscanned layers `tests/models/lora_test.py` compares logits
    live, merged = logits(str(folders.run)), logits(str(tmp_path / "merged"))
    worst = max(np.abs(live[k] - merged[k]).max() / np.abs(live[k]).max() for k in live)
    print(f"merged: {worst:.1e} of the largest logit")
    assert worst < 1e-5
  to_hf(str(tmp_path / "merged"), str(tmp_path / "hf"))
  before, after = (load_file(f / "model.safetensors") for f in (folders.hf, tmp_path / "hf"))
  adapters = load_file(golden.ADAPTER / FILES[1])
  assert before.keys() == after.keys()
  for name, value in after.items():
    module = f"base_model.model.{name.removesuffix('.weight')}"
    update = 0.0
    if f"{module}.lora_A.weight" in adapters:
      update = 0.5 * adapters[f"{module}.lora_B.weight"] @ adapters[f"{module}.lora_A.weight"]
      assert np.abs(update).max() > 0.05
    np.testing.assert_allclose(value, before[name] + update, atol=1e-5)


def test_there_and_back_is_byte_equal(folders, tmp_path):
  export_adapter(str(folders.run), str(tmp_path / "peft"))
  for file in FILES:
    assert (tmp_path / "peft" / file).read_bytes() == (golden.ADAPTER / file).read_bytes()


def test_an_imported_adapter_says_what_it_is(folders):
  record = adapter.read_record(f"{folders.run}/checkpoints/0/items")
  assert (record.lora.rank, record.lora.alpha) == (4, 2.0)
  assert record.lora.targets == ("attention", "ffn", "audio_tower", "projector")
  assert record.base_path == f"{folders.base}/0/items"


def configuration(ref=REFERENCE, model="qwen3-asr-tiny", **keys) -> bridge.Config:
  keys = {"model_name": model, **ours.config_keys(ref), **keys}
  return load("configs/speech.yml", [f"{key}={value}" for key, value in keys.items()])


def copy_adapter(folder, *, change=lambda tensors: tensors, **config):
  """The golden adapter with other tensors or other keys."""
  shutil.copytree(golden.ADAPTER, folder)
  save_file(change(load_file(folder / FILES[1])), folder / FILES[1], {"format": "pt"})
  given = json.loads((folder / FILES[0]).read_text())
  (folder / FILES[0]).write_text(json.dumps(given | config))
  return str(folder)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_any_element_type_is_byte_equal(tmp_path, dtype):
  tensors = {k: v.astype(dtype) for k, v in load_file(golden.ADAPTER / FILES[1]).items()}
  shutil.copytree(golden.ADAPTER, tmp_path / "in")
  save_file(tensors, tmp_path / "in" / FILES[1], None)
  config = configuration(scan_layers=True)
  (tmp_path / "out").mkdir()
  write_peft(str(tmp_path / "out"), read_peft(str(tmp_path / "in"), config), config)
  for file in FILES:
    assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "in" / file).read_bytes()


def keep(pattern):
  return lambda tensors: {name: x for name, x in tensors.items() if pattern in name}


@pytest.mark.parametrize("scanned", [True, False])
def test_an_adapter_of_some_modules_has_targets_of_its_own(tmp_path, scanned):
  folder = copy_adapter(tmp_path / "in", change=keep("language_model.layers"))
  some = copy_adapter(tmp_path / "some", change=keep("language_model.layers.0.self_attn.q_proj"))
  config = configuration(scan_layers=scanned)
  assert read_peft(folder, config).lora.targets == ("attention", "ffn")
  with pytest.raises(KeyTableError, match=r"missing: .*layers\.1\.self_attn\.q_proj\.lora_A"):
    read_peft(some, config)
  queries = copy_adapter(tmp_path / "queries", change=keep("self_attn.q_proj"))
  targets = read_peft(queries, config).lora.targets
  assert targets == (
    "decoder/layers/self_attention/query",
    "speech_encoder/layers/self_attn/q_proj",
  )


def misshapen(tensors):
  name = "base_model.model.model.multi_modal_projector.linear_1.lora_B.weight"
  return tensors | {name: tensors[name][:5]}


@pytest.mark.parametrize(
  ("change", "keys", "message"),
  [
    (lambda t: t | {"base_model.model.lm_head.lora_A.weight": np.ones((3, 48))}, {}, "F32, F64"),
    (lambda t: t | {"base_model.model.x.weight": np.ones(3, "f4")}, {}, "unknown: .*model.x"),
    (misshapen, {}, r"shape of .*linear_1.lora_B.weight: got \[5, 4\], expected \[64, 4\]"),
    (lambda t: t, {"use_dora": True, "bias": "all"}, "bias: got 'all', .*; use_dora: got True"),
    (lambda t: t, {"rank_pattern": {"q_proj": 8}}, r"q_proj.lora_A.weight: got \[4, .*, expected"),
    (lambda t: t, {"target_modules": ["q_proj"]}, "adapts none of the modules of 50 tensors"),
  ],
)
def test_what_cannot_be_imported_is_a_clear_error(tmp_path, change, keys, message):
  folder = copy_adapter(tmp_path / "in", change=change, **keys)
  with pytest.raises(ValueError, match=message):
    read_peft(folder, configuration())


def test_adapters_alone_are_no_hugging_face_checkpoint(folders, tmp_path):
  with pytest.raises(ValueError, match=r"merge-adapter .* export-adapter") as caught:
    to_hf(str(folders.run), str(tmp_path / "hf"), base=str(folders.base))
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "hf").exists()


def test_whole_weights_are_no_adapter(folders, tmp_path):
  for convert in (merge_adapter, export_adapter):
    with pytest.raises(ValueError, match="expected the adapters of a LoRA run"):
      convert(str(folders.base), str(tmp_path / "out"))
  with pytest.raises(ValueError, match="is a LoRA run itself; merge it first"):
    import_adapter(str(golden.ADAPTER), str(folders.run), str(tmp_path / "out"))
  assert not (tmp_path / "out").exists()


def test_adapters_that_were_trained_here_become_a_peft_folder(tmp_path):
  """The config names their modules and no other; PEFT matches it against whole module names."""
  config = configuration(scan_layers=True)
  folder = copy_adapter(tmp_path / "in", change=keep("self_attn"))
  given = read_peft(folder, config)
  assert given.peft["naming"] == "modules"
  (tmp_path / "out").mkdir()
  fresh = Adapters(
    lora=LoraConfig(rank=4, alpha=2.0, targets=given.lora.targets), arrays=given.arrays
  )
  write_peft(str(tmp_path / "out"), fresh, config, base_name="Qwen/Qwen3-ASR-0.6B-hf")
  written = json.loads((tmp_path / "out" / FILES[0]).read_text())
  modules = {name.removesuffix(".weight") for name in qwen3_asr_files.weights("native")}
  matched = {name for name in modules if re.fullmatch(written["target_modules"], name)}
  assert matched == {name for name in modules if re.search(r"self_attn\.\w+_proj$", name)}
  assert (written["r"], written["lora_alpha"]) == (4, 2)
  assert written["base_model_name_or_path"] == "Qwen/Qwen3-ASR-0.6B-hf"
  assert (tmp_path / "out" / FILES[1]).read_bytes() == (tmp_path / "in" / FILES[1]).read_bytes()


def test_adapters_of_experts_lie_expert_by_expert(tmp_path):
  config = configuration(OMNI, "qwen3-omni-30b-a3b", scan_layers=True)
  rng = np.random.default_rng(0)
  sizes = sizes_of(config, 2)
  pairs = {p: r for p, r in adapter_rules(config, "modules").items() if "moe_block" in p}
  arrays = {
    path: rng.normal(size=shape).astype(np.float32)
    for path, shape in our_shapes([rule for pair in pairs.values() for rule in pair], sizes).items()
  }
  lora = LoraConfig(rank=2, alpha=3.0, targets=("experts",))
  for folder in ("out", "again"):
    (tmp_path / folder).mkdir()
  write_peft(str(tmp_path / "out"), Adapters(lora=lora, arrays=arrays), config)
  tensors = load_file(tmp_path / "out" / FILES[1])
  kernel = "decoder/layers/moe_block/wo"
  axes = KernelAxes(batch=1, inputs=1, stack=1)
  update = kernel_update(arrays[f"{kernel}_lora_a"], arrays[f"{kernel}_lora_b"], axes, lora.scale)
  for expert, layer in ((0, 0), (7, 1)):
    module = f"base_model.model.model.language_model.layers.{layer}.mlp.experts.{expert}.down_proj"
    product = tensors[f"{module}.lora_B.weight"] @ tensors[f"{module}.lora_A.weight"]
    np.testing.assert_allclose(update[expert, layer], 1.5 * product.T, rtol=1e-5)
  given = read_peft(str(tmp_path / "out"), config)
  assert given.lora == lora
  for path, value in arrays.items():
    np.testing.assert_array_equal(given.arrays[path], value)
  write_peft(str(tmp_path / "again"), given, config)
  for file in FILES:
    assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "out" / file).read_bytes()


def flip_a_bit(items: pathlib.Path) -> pathlib.Path:
  """Damages the largest file of saved arrays; it is damaged twice and whole again."""
  file = max((path for path in items.rglob("*") if path.is_file()), key=lambda f: f.stat().st_size)
  data = bytearray(file.read_bytes())
  data[len(data) // 2] ^= 1
  file.write_bytes(data)
  return file


def test_a_bit_that_flipped_is_named_by_whatever_reads_the_weights(folders, tmp_path):
  out = str(tmp_path / "out")
  base, run = folders.base / "0" / "items", folders.run / "checkpoints" / "0" / "items"
  readers = {
    base: [
      lambda: to_hf(str(folders.base), out),
      lambda: logits.__wrapped__(str(folders.base)),
      lambda: logits.__wrapped__(str(folders.run)),
      lambda: merge_adapter(str(folders.run), out),
    ],
    run: [
      lambda: logits.__wrapped__(str(folders.run)),
      lambda: merge_adapter(str(folders.run), out),
      lambda: export_adapter(str(folders.run), out),
    ],
  }
  for items, reading in readers.items():
    file = flip_a_bit(items)
    for read in reading:
      with pytest.raises(ValueError, match=f"{file} is damaged"):
        read()
      assert not (tmp_path / "out").exists()
    assert flip_a_bit(items) == file, "whole again"
