"""A converted model in a bucket: model_name may be its URL."""

import gcs_server
import pytest

from maxtext_ext.files import remote, storage
from maxtext_ext.keys.settings import read
from maxtext_ext.keys.values import ConfigError
from maxtext_ext.keys.yml import package_configs
from maxtext_ext.text.tokenizer import Tokenizer, train_char_tokenizer

CONFIG = "configs/experiments/finetune.yml"  # names no tokenizer
MODEL = "gs://bucket/checkpoints/tiny"


@pytest.fixture(autouse=True)
def bucket(monkeypatch, tmp_path):
  """A bucket with a tiny converted model."""
  with gcs_server.serving(monkeypatch, "bucket"):
    train_char_tokenizer(["a b"], tmp_path / "tokenizer", ["English"])
    shape = (package_configs() / "models" / "qwen3-asr-tiny.yml").read_bytes()
    remote.write_bytes(f"{MODEL}/model.yml", shape)
    for file in (tmp_path / "tokenizer").iterdir():
      remote.write_bytes(f"{MODEL}/{file.name}", file.read_bytes())
    yield


@pytest.mark.parametrize("model", [MODEL, f"{MODEL}/", f"{MODEL}/model.yml"])
def test_shape_and_tokenizer_are_those_of_the_bucket(model):
  settings = read(CONFIG, [f"model_name={model}"])
  assert settings.model_name == model
  assert (settings.base_emb_dim, settings.speech_encoder) == (128, "qwen3_audio")
  assert settings.tokenizer_path == MODEL
  assert Tokenizer.from_directory(settings.tokenizer_path).checksum()


def test_another_tokenizer_wins(tmp_path):
  keys = [f"model_name={MODEL}", f"tokenizer_path={tmp_path / 'tokenizer'}"]
  assert read(CONFIG, keys).tokenizer_path == str(tmp_path / "tokenizer")


@pytest.mark.parametrize("model", ["gs://bucket/none", "gs://none/model"])
def test_nothing_there_is_one_line(model):
  with pytest.raises(ConfigError, match=f"model_name {model}: no model.yml there; expected what"):
    read(CONFIG, [f"model_name={model}"])


def test_a_bucket_out_of_reach_is_one_line(monkeypatch):
  def fail(path: str) -> bool:
    raise OSError(f"{path}: cannot look at it (503)")

  monkeypatch.setattr(storage, "is_file", fail)
  with pytest.raises(ConfigError, match=rf"model_name {MODEL}: {MODEL}/model.yml: cannot look"):
    read(CONFIG, [f"model_name={MODEL}"])


def test_a_file_that_cannot_be_read_is_named():
  remote.write_bytes(f"{MODEL}/model.yml", b"\xff\xfe\x00")
  with pytest.raises(ConfigError, match=f"{MODEL}/model.yml cannot be read"):
    read(CONFIG, [f"model_name={MODEL}"])
