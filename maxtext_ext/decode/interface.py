"""Interface of decoding engines, from batches of clips to answers."""

import abc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from flax import nnx
from jax.sharding import Mesh

from maxtext_ext import bridge
from maxtext_ext.evaluate.hypotheses import Hypothesis
from maxtext_ext.input.collate import ClipInfo, DecodeBatch
from maxtext_ext.text.templates import TEMPLATES
from maxtext_ext.text.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Written:
  """Output tokens of a row.

  Attributes:
    tokens: without the final eos.
    complete: whether the model ended its answer; False where a limit cut it.
  """

  tokens: list[int]
  complete: bool


@dataclass(frozen=True, kw_only=True)
class Answer:
  """Answer of a model for a clip.

  Attributes:
    language: that the model named; None where it named none.
    text: the transcript.
    complete: as in Written.
  """

  clip: ClipInfo
  language: str | None
  text: str
  complete: bool

  def hypothesis(self) -> Hypothesis:
    """Returns the line of a folder of hypotheses."""
    return Hypothesis(
      id=self.clip.id,
      dataset=self.clip.dataset,
      language=self.clip.language,
      duration=self.clip.seconds,
      reference=self.clip.reference,
      hypothesis=self.text,
      complete=self.complete,
    )


class Engine(abc.ABC):
  """A way to decode a model; chosen by the model's `ENGINE`, a key of `decode.engines.ENGINES`.

  A clip's answer does not depend on the clips that are decoded with it. Programs are compiled when
  a batch first needs them, one for each shape.

  Args:
    config: the model's configuration.
    mesh: of the devices.
    tokenizer: of the model.
    announce: report on stderr that a program is being compiled.

  Raises:
    ValueError: the model has fewer entries than the tokenizer.
  """

  def __init__(
    self, config: bridge.Config, mesh: Mesh, tokenizer: Vocabulary, *, announce: bool = False
  ) -> None:
    tokenizer.require_rows(config.vocab_size)
    self._config, self._mesh, self._tokenizer = config, mesh, tokenizer
    self._parse = TEMPLATES[config.template].parse
    self._announce = announce

  @abc.abstractmethod
  def write(self, params: nnx.State, arrays: dict[str, np.ndarray]) -> list[Written]:
    """Decodes this host's rows of a batch.

    Args:
      params: of the model.
      arrays: of a `DecodeBatch`.
    """

  def run(self, params: nnx.State, batches: Iterable[DecodeBatch]) -> Iterator[list[Answer]]:
    """Decodes batches one after the other; yields the answers of each, in the order of its clips.

    Every process of a run gives batches of the same shapes in the same order, each its own clips.
    """
    for batch in batches:
      rows = self.write(params, batch.arrays)
      # Rows behind the last clip are empty.
      yield [self._answer(*pair) for pair in zip(batch.utterances, rows, strict=False)]

  def _answer(self, clip: ClipInfo, row: Written) -> Answer:
    language, text = self._parse(self._tokenizer.decode(row.tokens))
    return Answer(clip=clip, language=language, text=text, complete=row.complete)
