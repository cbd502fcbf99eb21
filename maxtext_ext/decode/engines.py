"""Decoding engines by name, and the one of a model."""

from jax.sharding import Mesh

from maxtext_ext import bridge
from maxtext_ext.decode.ctc import CTCEngine
from maxtext_ext.decode.engine import SlotEngine
from maxtext_ext.decode.interface import Engine
from maxtext_ext.models.make import model_class
from maxtext_ext.text.vocabulary import Vocabulary

ENGINES: dict[str, type[Engine]] = {"slots": SlotEngine, "ctc": CTCEngine}


def make_engine(
  config: bridge.Config, mesh: Mesh, tokenizer: Vocabulary, *, announce: bool = False
) -> Engine:
  """Makes the engine of the model that a configuration describes.

  Raises:
    ValueError: the model has fewer entries than the tokenizer, or it cannot be decoded.
  """
  return _engine_class(config)(config, mesh, tokenizer, announce=announce)


def check_controls(config: bridge.Config) -> None:
  """Raises ValueError where the model's engine cannot honour a control of the configuration."""
  _engine_class(config).check(config)


def in_training(config: bridge.Config) -> bridge.Config:
  """Returns the configuration with which evaluation in training decodes the model."""
  return _engine_class(config).in_training(config)


def _engine_class(config: bridge.Config) -> type[Engine]:
  return ENGINES[model_class(config).ENGINE]
