"""Checkpoints from elsewhere that are damaged or set a trap: one line that names the file."""

import copy
import json
import os
import shutil
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from benchmarks.parity.references import qwen3_asr_files, qwen3_omni_files
from benchmarks.parity.references import qwen3_asr_odd as odd
from maxtext_ext.checkpoint import qwen3_omni
from maxtext_ext.checkpoint.convert import to_maxtext
from maxtext_ext.checkpoint.hf_io import INDEX, NonfiniteError
from maxtext_ext.checkpoint.qwen3_asr_config import model_keys
from maxtext_ext.text.tokenizer import train_char_tokenizer

NAMES = {"original": qwen3_asr_files.original_config, "native": qwen3_asr_files.native_config}


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
  """A checkpoint of two shards with every file that is read."""
  folder = tmp_path_factory.mktemp("valid") / "hf"
  qwen3_asr_files.write(folder, "original", odd.REFERENCE, shards=2)
  (folder / "vocab.json").unlink()
  train_char_tokenizer(["abc"], folder, ["English"])
  (folder / "added_tokens.json").write_text("{}")
  (folder / "special_tokens_map.json").write_text("{}")
  return folder


@pytest.fixture
def source(valid, tmp_path):
  return shutil.copytree(valid, tmp_path / "hf")


def refusal(source) -> str:
  """Returns the message of a conversion, which has to refuse before it writes anything."""
  out = source.parent / "out"
  with pytest.raises(ValueError) as caught:
    to_maxtext(str(source), str(out))
  assert not out.exists()
  message = str(caught.value)
  assert message.isprintable()
  assert len(message) < 1000
  return message


def test_the_valid_checkpoint_is_converted(source):
  assert to_maxtext(str(source), str(source.parent / "out")).head == "tied"


JSON_FILES = (
  *("config.json", INDEX, "tokenizer.json", "tokenizer_config.json", "added_tokens.json"),
  *("special_tokens_map.json", "generation_config.json", "preprocessor_config.json"),
  "chat_template.json",
)
MUTATIONS = {
  "empty": lambda data: b"",
  "truncated": lambda data: data.rstrip()[:-1],
  "half": lambda data: data[: len(data) // 2] + b'{"',
  "list": lambda data: b"[]",
  "number": lambda data: b"12",
  "null": lambda data: b"null",
  "text": lambda data: b'"text"',
  "deep": lambda data: b"[" * 100_000,
  "deep objects": lambda data: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
  "not UTF-8": lambda data: data.replace(b"{", b'{"\xff": 1, ', 1),
  "NaN": lambda data: b'{"x": NaN}',
  "repeated": lambda data: b'{"x": 1, "x": 2}',
  "huge number": lambda data: b'{"x": ' + b"9" * 10_000 + b"}",
  "half a surrogate": lambda data: rb'{"x": "\udcff"}',
  "zeros": lambda data: b"\0" * len(data),
}


@pytest.mark.parametrize("name", JSON_FILES)
def test_a_damaged_json_file_is_named_in_one_line(source, name):
  whole = (source / name).read_bytes()
  for mutation, damage in MUTATIONS.items():
    (source / name).write_bytes(damage(whole))
    assert name in refusal(source), mutation


ODD_VALUES = ("2", -1, 0, 10**9, 10**30, True, 2.5, [], {}, "${oc.env:SECRET}", "nan", None)
SHAPE = (
  *(("audio_config", key) for key in ("d_model", "encoder_layers", "encoder_attention_heads")),
  *(("audio_config", key) for key in ("encoder_ffn_dim", "num_mel_bins", "output_dim")),
  *(("text_config", key) for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")),
  *(("text_config", key) for key in ("num_key_value_heads", "head_dim", "vocab_size")),
  *(("text_config", key) for key in ("intermediate_size", "rms_norm_eps")),
)


@pytest.mark.parametrize("naming", NAMES)
@pytest.mark.parametrize(("section", "key"), SHAPE)
def test_a_size_that_is_none_is_named(naming, section, key):
  for value in ODD_VALUES:
    config = copy.deepcopy(NAMES[naming](odd.REFERENCE))
    config.get("thinker_config", config)[section][key] = value
    with pytest.raises(ValueError, match=rf"^dir/config\.json: .*{section}") as caught:
      model_keys(config, "dir/config.json")
    assert key in str(caught.value) or value == 10**9  # the others do not fit then
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("key", ["num_hidden_layers", "vocab_size"])
@pytest.mark.parametrize("value", [10**9, 999, 2**24])
def test_a_size_that_the_tensors_do_not_have_costs_no_memory(source, key, value):
  config = json.loads((source / "config.json").read_text())
  config["thinker_config"]["text_config"][key] = value
  (source / "config.json").write_text(json.dumps(config))
  tracemalloc.start()
  with pytest.raises(ValueError, match=rf"config\.json|shape of .*{value}"):
    to_maxtext(str(source), str(source.parent / "out"))
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 50e6


def test_files_that_are_no_regular_files_of_the_folder_are_refused(source):
  (source.parent / "secret.json").write_text('{"password": 1}')
  os.symlink("../secret.json", source / "extra.json")
  assert "extra.json is a link to" in refusal(source)
  (source / "extra.json").unlink()
  os.mkfifo(source / "extra.jinja")
  assert "extra.jinja is no regular file" in refusal(source)
  (source / "extra.jinja").unlink()
  (source / "config.json").rename(source.parent / "config.json")
  os.symlink("../config.json", source / "config.json")
  assert "config.json is a link to" in refusal(source)


def test_a_checkpoint_in_the_hubs_cache_is_converted(source, tmp_path):
  repository = tmp_path / "hub" / "models--org--name"
  snapshot, blobs = repository / "snapshots" / "c0ffee", repository / "blobs"
  for folder in (snapshot, blobs):
    folder.mkdir(parents=True)
  for number, file in enumerate(sorted(source.iterdir())):
    file.rename(blobs / str(number))
    os.symlink(f"../../blobs/{number}", snapshot / file.name)
  out = tmp_path / "out"
  to_maxtext(str(snapshot), str(out))
  assert not (out / "tokenizer.json").is_symlink()
  assert json.loads((out / "hf" / "config.json").read_text())["model_type"] == "qwen3_asr"


def spoil(source, name: str, *values: float) -> None:
  """Puts values into a tensor."""
  for file in source.glob("*.safetensors"):
    tensors = load_file(file)
    if name in tensors:
      tensors[name] = tensors[name].copy()
      tensors[name].reshape(-1)[: len(values)] = values
      save_file(tensors, file, {"format": "pt"})


def test_weights_that_are_no_numbers_are_counted_and_refused_unless_asked_for(source):
  spoil(source, "thinker.model.norm.weight", np.nan, np.inf, 1.0, -np.inf)
  spoil(source, "thinker.model.layers.0.mlp.up_proj.weight", np.nan)
  out = str(source.parent / "out")
  with pytest.raises(NonfiniteError) as caught:
    to_maxtext(str(source), out)
  assert str(caught.value) == (
    f"{source}: 4 weights are NaN or infinite (3 in 'thinker.model.norm.weight', 1 in"
    " 'thinker.model.layers.0.mlp.up_proj.weight'); take another checkpoint, or convert it as it is"
    " with --allow-nonfinite"
  )
  assert [child.name for child in source.parent.iterdir()] == ["hf"]
  report = to_maxtext(str(source), out, allow_nonfinite=True)
  assert report.nonfinite == {
    "thinker.model.norm.weight": 3,
    "thinker.model.layers.0.mlp.up_proj.weight": 1,
  }


def test_a_number_that_only_the_asked_type_cannot_hold_is_counted(source):
  spoil(source, "thinker.model.norm.weight", 3.4e38)
  with pytest.raises(NonfiniteError, match=r"1 in 'thinker\.model\.norm\.weight'"):
    to_maxtext(str(source), str(source.parent / "out"), dtype="bfloat16")


def test_a_tokenizer_with_more_entries_than_the_model_is_refused(source):
  train_char_tokenizer(["".join(map(chr, range(0x4E00, 0x5000)))], source, ["English"])
  assert "entries, its config.json vocab_size=512" in refusal(source)


# What the published front end is, and other ones.
FRONT_ENDS = {
  "sampling_rate": 8000,
  "hop_length": 200,
  "n_fft": 512,
  "dither": 0.1,
  "do_normalize": True,
}


@pytest.mark.parametrize("key", FRONT_ENDS)
@pytest.mark.parametrize("naming", ["preprocessor_config.json", "processor_config.json"])
def test_another_sound_front_end_is_refused(source, naming, key):
  extractor = {"feature_size": 128, "n_samples": 480000, key: FRONT_ENDS[key]}
  content = extractor if naming.startswith("pre") else {"feature_extractor": extractor}
  (source / naming).write_text(json.dumps(content))
  assert f"{naming}: {key}: got {FRONT_ENDS[key]}" in refusal(source)


def test_a_damaged_omni_configuration_is_named(tmp_path):
  changes = {
    "num_experts": (10**9, 0, "8", True),
    "num_experts_per_tok": (99, -1, None),
    "norm_topk_prob": (False, 0, "true"),
    "mlp_only_layers": ([0], 3),
    "decoder_sparse_step": (2, "1"),
    "shared_expert_intermediate_size": (64,),
  }
  for naming in ("original", "native"):
    for key, values in changes.items():
      for value in values:
        config = qwen3_omni_files.config(naming)
        config.get("thinker_config", config)["text_config"][key] = value
        with pytest.raises(ValueError, match=rf"config\.json: .*text_config.*{key}"):
          qwen3_omni.model_keys(config)


def test_nothing_foreign_reaches_the_yaml_of_the_result(source, monkeypatch):
  """The folder's own name stands there, in a comment."""
  monkeypatch.setenv("SECRET", "s3cret")
  renamed = source.parent / "${oc.env:SECRET}\nvocab_size: 1"
  source.rename(renamed)
  out = source.parent / "out"
  to_maxtext(str(renamed), str(out))
  text = (out / "model.yml").read_text()
  assert "s3cret" not in text
  assert text.count("vocab_size") == 2
  assert "\nvocab_size: 512\n" in text
