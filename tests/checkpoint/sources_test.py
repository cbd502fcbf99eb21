"""A model of several checkpoints: each tensor from its source, a new projector; there and back."""

import dataclasses
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from benchmarks.parity.references import qwen3_asr_files as files
from benchmarks.parity.references import qwen3_asr_odd as odd
from maxtext_ext import bridge
from maxtext_ext.checkpoint import dense_lm, families, qwen3_asr
from maxtext_ext.checkpoint.adapter import AdapterRecord
from maxtext_ext.checkpoint.best import Best
from maxtext_ext.checkpoint.convert import to_maxtext
from maxtext_ext.checkpoint.export import to_hf
from maxtext_ext.checkpoint.families import parse_sources
from maxtext_ext.checkpoint.keymap import Family, KeyTableError, Source, our_shapes
from maxtext_ext.checkpoint.merge import import_adapter
from maxtext_ext.checkpoint.model_file import write_model
from maxtext_ext.checkpoint.orbax_io import ParamsReader
from maxtext_ext.checkpoint.peft import Adapters, write_peft
from maxtext_ext.checkpoint.peft_rules import adapter_rules, sizes_of
from maxtext_ext.checkpoint.training import TrainingCheckpoints
from maxtext_ext.cli import main
from maxtext_ext.config import load
from maxtext_ext.models.lora import LoraConfig
from maxtext_ext.models.make import make_model

TOWER, TEXT = "thinker.audio_tower.", "thinker.model."


def rules(naming: str, tied: bool, model: dict) -> list:
  """The tower and the projector under names of their own, and a language model."""
  audio = qwen3_asr.audio_rules("encoder", "1", "2")
  projector = [rule for rule in audio if rule.ours.startswith("projector/")]
  tower = [rule for rule in audio if rule not in projector]
  text = [*dense_lm.attention_rules("model"), *dense_lm.mlp_rules("model")]
  text += [] if tied else [dense_lm.head_rule("lm_head")]
  return [
    dataclasses.replace(rule, source=source)
    for source, of_source in (("encoder", tower), ("lm", text), ("projector", projector))
    for rule in of_source
  ]


def model_keys(configs: dict, places: dict) -> dict:
  assert {pathlib.Path(places[name]).name for name in ("encoder", "lm")} == {"config.json"}
  assert configs["projector"]["model_type"] == "mlp_projector" and places["projector"]
  thinker = {"audio_config": configs["encoder"]["audio"], "text_config": configs["lm"]["text"]}
  return qwen3_asr.model_keys({"model_type": "qwen3_asr", "thinker_config": thinker})


TWO_PARTS = Family(
  name="two_parts",
  namings=("only",),
  parts={
    "encoder": Source(model_types=("tower",), skip=(r"decoder\..*",)),
    "lm": Source(model_types=("text", "text2"), tokenizer=True),
    "projector": Source(
      model_types=("mlp_projector",), kinds={"mlp": {"model_type": "mlp_projector"}}
    ),
  },
  model_keys=model_keys,
  sizes=qwen3_asr.sizes,
  rules=rules,
  hf_config=lambda configs, naming, tied: dict(configs),
)


@pytest.fixture(autouse=True)
def family(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.delitem(families.FAMILIES, "whisper_lm")  # of parts of these names too
  monkeypatch.setitem(families.FAMILIES, "two_parts", TWO_PARTS)


def write(folder: pathlib.Path, config: dict, tensors: dict, **others: str) -> str:
  folder.mkdir()
  (folder / "config.json").write_text(json.dumps(config))
  save_file(tensors, folder / "model.safetensors")
  for name, text in others.items():
    (folder / name.replace("_json", ".json")).write_text(text)
  return str(folder)


@pytest.fixture
def sources(tmp_path: pathlib.Path) -> dict[str, str]:
  """The parts of the odd Qwen3-ASR as checkpoints of their own; both have a tokenizer."""
  weights = files.weights("original", odd.REFERENCE)
  thinker = files.original_config(odd.REFERENCE)["thinker_config"]
  tower = {
    name.replace(TOWER, "encoder."): value
    for name, value in weights.items()
    if name.startswith(TOWER) and not name.startswith(f"{TOWER}proj")
  }
  tower["decoder.bias"] = np.zeros(3, np.float32)
  text = {k.replace(TEXT, "model."): v for k, v in weights.items() if k.startswith(TEXT)}
  vocabulary = {"vocab_json": '{"a": 0}', "tokenizer_config_json": "{}"}
  return {
    "encoder": write(
      tmp_path / "tower",
      {"model_type": "tower", "audio": thinker["audio_config"]},
      tower,
      vocab_json=json.dumps({str(i): i for i in range(10_000)}),
    ),
    "lm": write(
      tmp_path / "lm", {"model_type": "text", "text": thinker["text_config"]}, text, **vocabulary
    ),
  }


def arrays(folder: pathlib.Path) -> dict[str, np.ndarray]:
  reader = ParamsReader(f"{folder}/0/items")
  return {
    path: reader.open(path).read((slice(None),) * len(shape))
    for path, shape in reader.shapes.items()
  }


@pytest.mark.parametrize("scanned", [True, False], ids=["scanned", "unscanned"])
def test_each_part_comes_from_its_source(tmp_path, sources, scanned):
  files.write(tmp_path / "hf", "original", odd.REFERENCE)
  to_maxtext(str(tmp_path / "hf"), str(tmp_path / "whole"), scanned=scanned)
  out = tmp_path / "out"
  report = to_maxtext(sources, str(out), scanned=scanned)
  assert report.origins == {
    "speech_encoder": f"encoder={sources['encoder']}",
    "token_embedder": f"lm={sources['lm']}",
    "decoder": f"lm={sources['lm']}",
    "projector": "initialised randomly, init_weights_seed=0",
  }
  assert report.skipped == ("encoder: decoder.bias",)
  assert (out / "vocab.json").read_text() == '{"a": 0}', "the tokenizer of the language model"
  assert json.loads((out / "hf" / "lm" / "config.json").read_text())["model_type"] == "text"

  expected, found = arrays(tmp_path / "whole"), arrays(out)
  config = load("configs/speech.yml", [f"model_name={out}", "weight_dtype=float32"])
  assert (config.checkpoint_family, config.scan_layers) == ("two_parts", scanned)
  mesh = bridge.make_mesh(config)
  with bridge.mesh_scope(config, mesh):
    new = jax.jit(lambda: nnx.state(make_model(config, mesh), nnx.Param))().to_pure_dict()
  for path, value in nnx.traversals.flatten_mapping({"projector": new["projector"]}).items():
    assert np.any(value) or path[-1] == "bias"
    expected["/".join(path)] = np.asarray(value)
  assert found.keys() == expected.keys()
  for path, value in expected.items():
    np.testing.assert_array_equal(found[path], value, err_msg=path)


@pytest.mark.parametrize("scanned", [True, False], ids=["scanned", "unscanned"])
def test_each_part_goes_back_to_a_folder_of_its_own_and_all_return(tmp_path, sources, scanned):
  """The encoder comes in float16, which has no place in ours, the projector is float32."""
  tower = pathlib.Path(sources["encoder"], "model.safetensors")
  half = {name: value.astype(np.float16) for name, value in load_file(tower).items()}
  save_file(half, tower)
  to_maxtext(sources, str(tmp_path / "out"), scanned=scanned)
  report = to_hf(str(tmp_path / "out"), str(tmp_path / "back"))
  back = {
    name: load_file(tmp_path / "back" / name / "model.safetensors") for name in TWO_PARTS.parts
  }
  del half["decoder.bias"]
  for name, expected in (
    ("encoder", half),
    ("lm", load_file(f"{sources['lm']}/model.safetensors")),
  ):
    assert back[name].keys() == expected.keys()
    for key, value in expected.items():
      assert back[name][key].dtype == value.dtype
      np.testing.assert_array_equal(back[name][key], value, err_msg=key)
  assert {value.dtype for value in back["projector"].values()} == {np.dtype(np.float32)}
  assert report.tensors == sum(map(len, back.values()))
  assert (tmp_path / "back" / "lm" / "vocab.json").read_text() == '{"a": 0}'
  configs = [tmp_path / "back" / name / "config.json" for name in TWO_PARTS.parts]
  types = [json.loads(path.read_text())["model_type"] for path in configs]
  assert types == ["tower", "text", "mlp_projector"]

  again = to_maxtext(str(tmp_path / "back"), str(tmp_path / "again"), scanned=scanned)
  assert again.origins["projector"] == f"projector={tmp_path / 'back' / 'projector'}"
  expected, found = arrays(tmp_path / "out"), arrays(tmp_path / "again")
  assert found.keys() == expected.keys()
  for path, value in expected.items():
    np.testing.assert_array_equal(found[path], value, err_msg=path)


def test_adapters_and_a_trained_projector_go_back_beside_the_base(tmp_path, sources):
  """PEFT's files give a run again whose adapters are those."""
  base, run = tmp_path / "base", tmp_path / "run"
  to_maxtext(sources, str(base))
  keys = ["lora_rank=2", "train_parts={projector: 1, adapters: 1}", "lora_targets=[ffn]"]
  config = load(
    "configs/speech.yml",
    [f"model_name={base}", f"load_parameters_path={base}/0/items", "weight_dtype=float32", *keys],
  )
  config = bridge.replace(config, checkpoint_dir=str(run / "checkpoints"))
  mesh = bridge.make_mesh(config)
  with bridge.mesh_scope(config, mesh):
    state = nnx.state(make_model(config, mesh), nnx.Param)
  rng = np.random.default_rng(0)
  drawn = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), state)
  record = AdapterRecord.from_config(config)
  manager = bridge.checkpoint_manager(config, Best(patience=0))
  saving = {"adapter": record, "saved": record.saved(config), "background": False}
  checkpoints = TrainingCheckpoints(manager, **saving)
  checkpoints.save(3, nnx.State({"model": drawn}), {})
  checkpoints.close()
  write_model(config, str(run))

  to_hf(str(run), str(tmp_path / "back"))
  frozen = load_file(f"{sources['lm']}/model.safetensors")
  for key, value in load_file(tmp_path / "back" / "lm" / "model.safetensors").items():
    np.testing.assert_array_equal(value, frozen[key], err_msg=key)
  report = to_maxtext(str(tmp_path / "back"), str(tmp_path / "again"))
  assert report.skipped == ("adapter/, which `maxtext-ext convert import-adapter` takes",)
  stored = nnx.traversals.flatten_mapping(drawn.to_pure_dict())
  again = arrays(tmp_path / "again")
  projector = {path for path in stored if path[0] == "projector"}
  assert projector
  for path in projector:
    np.testing.assert_array_equal(again["/".join(path)], stored[path], err_msg=str(path))
  import_adapter(str(tmp_path / "back" / "adapter"), str(tmp_path / "again"), str(tmp_path / "new"))
  reader = ParamsReader(str(tmp_path / "new" / "checkpoints" / "0" / "items"))
  adapters = {path for path in stored if path[-1].endswith(("_lora_a", "_lora_b"))}
  assert {"/".join(path) for path in adapters} == reader.shapes.keys()
  for path in adapters:
    found = reader.open("/".join(path)).read((slice(None),) * stored[path].ndim)
    np.testing.assert_array_equal(found, stored[path], err_msg=str(path))


def test_adapters_of_other_parts_are_none_of_peft_s(tmp_path, sources):
  base = tmp_path / "base"
  to_maxtext(sources, str(base))
  config = load("configs/speech.yml", [f"model_name={base}", "lora_rank=2"])
  path = "speech_encoder/layers/fc1/kernel"
  shapes = our_shapes(adapter_rules(config, "only")[path], sizes_of(config, 2))
  zeros = {path: np.zeros(shape, np.float32) for path, shape in shapes.items()}
  lora = LoraConfig(rank=2, alpha=2, targets=("audio_tower",))
  with pytest.raises(ValueError, match=r"^adapters of the encoder: PEFT's files hold"):
    write_peft(str(tmp_path), Adapters(lora=lora, arrays=zeros), config)


def test_the_command_says_which_part_came_from_where(tmp_path, sources, capsys):
  out = tmp_path / "out"
  given = [f"{name}={path}" for name, path in sources.items()]
  with pytest.raises(SystemExit) as exited:
    main(["convert", "to-maxtext", *given, str(out)])
  assert not exited.value.code
  lines = capsys.readouterr().out.splitlines()
  count = len(files.weights("original", odd.REFERENCE)) - 4  # without the projector
  assert lines[0].startswith(f"{out}: two_parts, only names, {count} tensors")
  assert f"  speech_encoder: {given[0]}" in lines
  assert "  projector: initialised randomly, init_weights_seed=0" in lines


def test_a_tensor_that_a_source_lacks_is_named_with_it(tmp_path, sources):
  (tmp_path / "lm" / "model.safetensors").unlink()
  save_file({"model.norm.weight": np.zeros(1, np.float32)}, tmp_path / "lm" / "model.safetensors")
  with pytest.raises(KeyTableError, match=r"missing: model\.embed_tokens") as error:
    to_maxtext(sources, str(tmp_path / "out"))
  assert error.value.summary.startswith(f"{tmp_path / 'lm'}: ")
  assert not (tmp_path / "out").exists()


def test_sources_are_read_by_name():
  assert parse_sources(["Qwen/Qwen3-ASR-0.6B"]) == {"": "Qwen/Qwen3-ASR-0.6B"}
  assert parse_sources(["run=3/hf"]) == {"": "run=3/hf"}, "a folder with = in its name"
  assert parse_sources(["lm=a=b", "encoder=c/d"]) == {"lm": "a=b", "encoder": "c/d"}


TAKES = (
  "two_parts takes encoder=SOURCE lm=SOURCE [projector=mlp|SOURCE]; every other model takes one"
  " SOURCE"
)


@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    (["a", "b"], f"^a: expected NAME=SOURCE for each of several; {re.escape(TAKES)}$"),
    (["encoder=a", "encoder=b"], "^encoder=b: encoder=a is given too"),
    (["encoder=a"], f"^encoder=a: no model is made of exactly these; {re.escape(TAKES)}$"),
    (
      ["encoder=a", "llm=b"],
      f"^encoder=a, llm=b: no model is made of exactly these; {re.escape(TAKES)}$",
    ),
  ],
)
def test_wrong_or_missing_sources_are_one_line(tmp_path, arguments, said):
  with pytest.raises(ValueError, match=said):
    to_maxtext(parse_sources(arguments), str(tmp_path / "out"))


def test_where_no_model_is_made_of_several_the_message_says_so(monkeypatch):
  monkeypatch.delitem(families.FAMILIES, "two_parts")
  with pytest.raises(ValueError, match=r"^a: expected .*; every model takes one SOURCE$"):
    parse_sources(["a", "b"])


def test_a_checkpoint_of_another_kind_is_refused(tmp_path, sources):
  swapped = {"encoder": sources["lm"], "lm": sources["lm"]}
  with pytest.raises(ValueError, match=r"^encoder=.*model_type 'text', expected tower$"):
    to_maxtext(swapped, str(tmp_path / "out"))
  swapped = {"encoder": sources["encoder"], "lm": sources["encoder"]}
  with pytest.raises(ValueError, match=r"^lm=.*model_type 'tower', expected text or text2$"):
    to_maxtext(swapped, str(tmp_path / "out"))
