"""Vocabulary: what turns text into a model's token ids and back."""

import abc
import functools
from collections.abc import Iterable

_NO_CHARACTER = "\ufffd"  # which decoding writes for bytes that are not UTF-8
_MOST_BYTES = 4  # of a character


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

  def pieces(self, ids: Iterable[int]) -> list[str]:
    """Text that each id adds: of a character whose bytes several ids make, the last one adds it.

    Joined they are `decode(ids)`, unless that has bytes which make no character.
    """
    found: list[str] = []
    pending: list[int] = []
    for token in ids:
      pending.append(token)
      text = self.decode(pending) if len(pending) > 1 else _decode_one(self, token)
      incomplete = text.endswith(_NO_CHARACTER) and len(pending) < _MOST_BYTES
      found.append("" if incomplete else text)
      if not incomplete:
        pending = []
    if pending:
      found[-1] = self.decode(pending)
    return found

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


@functools.lru_cache(maxsize=1 << 16)
def _decode_one(vocabulary: Vocabulary, token: int) -> str:
  return vocabulary.decode([token])
