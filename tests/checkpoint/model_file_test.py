"""A folder's model.yml gives back the model that was written, whatever the command line changed."""

from maxtext_ext.checkpoint.model_file import shape_keys, write_model
from maxtext_ext.config import load
from maxtext_ext.text.tokenizer import train_char_tokenizer
from tests import tiny


def test_the_folder_is_the_model(tmp_path):
  train_char_tokenizer(tiny.WORDS, tmp_path / "tokenizer", ["English"])
  folder = tmp_path / "run"
  changed = ["scan_layers=true", "weight_dtype=bfloat16", "logits_via_embedding=false"]
  tokenizer = f"tokenizer_path={tmp_path / 'tokenizer'}"
  config = load(tiny.DEMO, [*tiny.SHAPE, *changed, tokenizer])
  write_model(config, str(folder))
  again = load("configs/speech.yml", [f"model_name={folder}"])
  keys = (*shape_keys(), "scan_layers", "dtype", "weight_dtype")
  assert {"head_dim", "vocab_size", "decoder_block", "d_model_for_audio"} < set(keys)
  assert {k: getattr(again, k) for k in keys} == {k: getattr(config, k) for k in keys}
  assert again.emb_dim == 32 and again.scan_layers
  assert again.tokenizer_path == str(folder)
  write_model(again, str(folder))  # a run that goes on reads the tokenizer from its own folder
  assert sorted(path.name for path in folder.iterdir()) == [
    "model.yml",
    "tokenizer.json",
    "tokenizer_config.json",
  ]
