"""Vocabulary: what turns text into a model's token ids and back."""

import abc
from collections.abc import Iterable


class Vocabulary(abc.ABC):
  """Text <-> token ids; a tokenizer or an alphabet.

  Instances are hashable, and equal where they are of the same files.

  Attributes:
    directory: the folder of its files, local or a URL.
  """

  directory: str

  @abc.abstractmethod
  def encode(self, text: str) -> list[int]:
    """Ids of `text` alone, nothing added.

    Raises:
      ValueError: the vocabulary cannot write this text.
    """

  @abc.abstractmethod
  def decode(self, ids: Iterable[int]) -> str:
    """Text of any ids; those that stand for no text add nothing."""

  @property
  @abc.abstractmethod
  def vocab_size(self) -> int:
    """One more than the largest id."""

  @property
  @abc.abstractmethod
  def pad_id(self) -> int:
    """Id of empty slots."""

  @abc.abstractmethod
  def checksum(self) -> str:
    """Digest of its entries, wherever the files lie."""

  def require_rows(self, vocab_size: int) -> None:
    """Checks that a model's embedding or output has a row for every id.

    Raises:
      ValueError: it has fewer.
    """
    if self.vocab_size > vocab_size:
      raise ValueError(
        f"{self.directory}: the tokenizer has {self.vocab_size} entries, the model"
        f" vocab_size={vocab_size}; give the tokenizer that belongs to the model, or make the model"
        " with at least as many"
      )
