"""SpeechConfig: the project's keys on top of MaxText's, and `load`, which reads a configuration.

Reading and checking the keys is the work of `keys`, which does without MaxText.
"""

import os

import pydantic

from maxtext_ext import bridge
from maxtext_ext.keys.settings import Overrides, Settings, describe, kinds, read
from maxtext_ext.keys.speech import SpeechKeys
from maxtext_ext.keys.values import ConfigError
from maxtext_ext.keys.yml import Chain
from maxtext_ext.models.make import check_model_keys


class SpeechConfig(SpeechKeys, bridge.MaxTextConfig, frozen=False):
  """MaxText's configuration with the project's keys.

  The encoder's shape uses MaxText's own `*_for_audio` keys, the language model's shape MaxText's
  `base_*` keys; `max_target_length` is L, the token slots of a packed row.
  """


def load(config: str | Chain, overrides: Overrides = ()) -> bridge.Config:
  """Reads and builds a configuration; arguments as of `keys.settings.read`.

  Raises:
    ConfigError: for an unknown key, a value that cannot be used, a missing file.
  """
  return build(read(config, overrides))


def build(settings: Settings) -> bridge.Config:
  """Builds the configuration of settings that were read; asks JAX for the devices.

  Raises:
    ConfigError: MaxText or the model refuses a value.
  """
  bridge.quiet(settings.verbose)
  texts = {key for key, kind in kinds().items() if kind.kind == "text" and not kind.optional}
  try:
    config = bridge.initialize(settings.values, {*texts, "tokenizer_path"}, SpeechConfig)
    check_model_keys(config)
  except pydantic.ValidationError as error:
    raise ConfigError(describe(error)) from error
  except (ValueError, TypeError) as error:
    raise ConfigError(_first_line(error)) from error
  return config


def run_dir_of(config: bridge.Config) -> str:
  """Returns the folder of everything that a run writes."""
  return os.path.dirname(config.checkpoint_dir.rstrip("/"))


def _first_line(error: BaseException) -> str:
  return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
