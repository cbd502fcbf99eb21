"""A converted model in a bucket: model_name and tokenizer_path may name it."""

import pathlib

import gcs_server
import pytest

from maxtext_ext.keys.settings import read
from maxtext_ext.keys.values import ConfigError
from maxtext_ext.keys.yml import package_configs
from maxtext_ext.records import remote
from maxtext_ext.text.tokenizer import Tokenizer, train_char_tokenizer

CONFIG = "configs/experiments/finetune.yml"  # names no tokenizer
MODEL = "gs://bucket/checkpoints/tiny"
TOKENIZER_ALONE = ["model_name=qwen3-asr-tiny", f"tokenizer_path={MODEL}"]


@pytest.fixture(autouse=True)
def bucket(monkeypatch, tmp_path):
  """A bucket with a tiny converted model, and an empty cache."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  with gcs_server.serving(monkeypatch, "bucket"):
    train_char_tokenizer(["a b"], tmp_path / "tokenizer", ["English"])
    shape = (package_configs() / "models" / "qwen3-asr-tiny.yml").read_bytes()
    remote.write_bytes(f"{MODEL}/model.yml", shape)
    for file in (tmp_path / "tokenizer").iterdir():
      remote.write_bytes(f"{MODEL}/{file.name}", file.read_bytes())
    yield


def tokenizer_of(*overrides: str) -> pathlib.Path:
  path = read(CONFIG, overrides).tokenizer_path
  Tokenizer.from_directory(path)
  return pathlib.Path(path)


@pytest.mark.parametrize("model", [MODEL, f"{MODEL}/"])
def test_shape_and_tokenizer_come_from_the_bucket(model):
  settings = read(CONFIG, [f"model_name={model}"])
  assert settings.model_name == model
  assert (settings.base_emb_dim, settings.speech_encoder) == (128, "qwen3_audio")
  assert Tokenizer.is_in(settings.tokenizer_path)


def test_it_is_downloaded_once_and_again_when_it_is_written_anew(monkeypatch):
  keys = [f"model_name={MODEL}"]
  first = tokenizer_of(*keys)
  with monkeypatch.context() as patch:
    patch.setattr(remote, "open_read", None)
    assert tokenizer_of(*keys) == first
  remote.write_bytes(f"{MODEL}/model.yml", b"head_dim: 64\n")
  assert tokenizer_of(*keys) != first
  assert read(CONFIG, keys).head_dim == 64


def test_a_tokenizer_alone():
  assert (tokenizer_of(*TOKENIZER_ALONE) / "tokenizer.json").is_file()


def test_a_download_that_was_broken_off_is_done_again(monkeypatch):
  def fail(url: str) -> None:
    raise OSError("503")

  with monkeypatch.context() as patch:
    patch.setattr(remote, "open_read", fail)
    with pytest.raises(ConfigError, match=f"{MODEL}: shape and tokenizer cannot be read: 503"):
      read(CONFIG, TOKENIZER_ALONE)
  assert tokenizer_of(*TOKENIZER_ALONE)


@pytest.mark.parametrize(
  ("key", "what"), [("model_name", "model.yml"), ("tokenizer_path", "tokenizer")]
)
def test_nothing_there_is_one_line(key, what):
  keys = {"model_name": "qwen3-asr-tiny", key: "gs://bucket/none"}
  with pytest.raises(ConfigError, match=f"gs://bucket/none: no {what} there; expected"):
    read(CONFIG, keys)
