"""Configuration files: chains, and one line for a file that cannot be used."""

import os

import pytest

from maxtext_ext.keys.maxtext import configs_folder
from maxtext_ext.keys.settings import read
from maxtext_ext.keys.values import ConfigError
from maxtext_ext.keys.yml import read_chain, read_yml
from tests.config_test import DEMO, write

BAD_FILES = {
  "no base": ("steps: 5\n", "sets no speech_encoder: give `base_config: configs/speech.yml`"),
  "empty": ("", "sets no speech_encoder"),
  "base not found": ("base_config: nowhere.yml\n", "base_config nowhere.yml not found"),
  "base is no name": ("base_config: [a]\n", "base_config is no text"),
  "unknown key": (
    "base_config: {base}\nstep: 5\n",
    "bad.yml: unknown key step; did you mean steps",
  ),
  "key in capitals": ("base_config: {base}\nLEARNING_RATE: 1\n", "did you mean learning_rate"),
  "wrong value": ("base_config: {base}\nsteps: x\n", "bad.yml: steps: got 'x', expected a whole"),
  "list for a number": (
    "base_config: {base}\nsteps: [1]\n",
    "steps: got .*'1'.*, expected a whole",
  ),
  "no value": ("base_config: {base}\nsteps:\n", "steps: got nothing, expected a whole number"),
  "twice": ("base_config: {base}\nsteps: 5\nsteps: 6\n", "gives steps twice"),
  "not yaml": ("steps: [1,\n", r"is not yaml: .*\(line 2"),
  "a Python object": ("base_config: {base}\ndata_sharding: !!python/object:os.x {}\n", "not yaml"),
  "not text": (b"\xff\xfe\x00steps", "cannot be read"),
  "a list": ("- steps\n", "holds a list"),
  "a word": ("steps\n", "holds a text"),
  "refers to itself": ("base_config: bad.yml\n", "refers to itself"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_is_one_line(case, tmp_path):
  content, expected = BAD_FILES[case]
  path = tmp_path / "bad.yml"
  if isinstance(content, str):
    content = content.replace("{base}", os.path.abspath("configs/speech.yml")).encode()
  path.write_bytes(content)
  with pytest.raises(ConfigError, match=expected) as caught:
    read(str(path))
  assert "\n" not in str(caught.value)


def test_missing_file_names_what_there_is():
  with pytest.raises(ConfigError, match=r"gone.yml not found .* configs/experiments/demo.yml"):
    read("gone.yml")


def test_package_configs_are_found_from_any_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert read(DEMO).base_emb_dim == 128


def test_speech_is_told_from_text(tmp_path):
  assert read_chain(DEMO).is_speech
  assert not read_chain(write(tmp_path / "text.yml", "base_config: base.yml\nsteps: 1\n")).is_speech


@pytest.mark.parametrize("depth", [150, 100_000])
@pytest.mark.parametrize("mark", ["[", "{a: ", "- "])
def test_a_file_of_endless_depth_is_refused(tmp_path, mark, depth):
  """Composing it would end the process."""
  (tmp_path / "model.yml").write_text("a: " * (mark != "- ") + mark * depth)
  with pytest.raises(ConfigError, match=r"model\.yml is not yaml that can be read: over 100"):
    read_yml(str(tmp_path / "model.yml"))


def test_keys_that_stand_on_nothing_are_refused(tmp_path):
  path = write(tmp_path / "mine.yml", "learning_rate: 1.0e-5\n")
  with pytest.raises(ConfigError, match=r"mine.yml has no base .* configs/speech.yml"):
    read_chain(path).require_base()
  read_chain(write(tmp_path / "text.yml", "base_config: base.yml\nsteps: 1\n")).require_base()
  read_chain(os.path.join(configs_folder(), "base.yml")).require_base()


def test_a_base_of_the_package_is_found_from_any_folder(tmp_path):
  path = write(tmp_path / "mine.yml", f"base_config: {DEMO}\nbase_emb_dim: 64\n")
  assert read(path).base_emb_dim == 64
