"""Alphabet: the characters that a CTC model writes, and their ids."""

import dataclasses
import hashlib
import os
from collections.abc import Iterable

from etils import epath

from maxtext_ext.files import foreign_folder, foreign_json
from maxtext_ext.files.foreign_json import shown
from maxtext_ext.text.vocabulary import Vocabulary

FILE = "alphabet.txt"
BLANK = 0  # id of the CTC blank, as optax.ctc_loss has it
_SHOWN = 10  # characters that an error lists


class OutsideAlphabetError(ValueError):
  """A text has characters that an alphabet lacks."""


@dataclasses.dataclass(frozen=True)
class Alphabet(Vocabulary):
  """Id 0 is the CTC blank, 1, 2, 3, ... are the characters in the order of the file.

      Alphabet(" 'abc").encode("a cab") == [3, 1, 5, 3, 4]

  The file `alphabet.txt` holds the characters in one line of UTF-8: `" 'abc...z"` without quotes
  makes the 29 outputs of an English model. Text is not changed: what should be lower case or
  without marks is normalised before.
  """

  characters: str
  directory: str = ""

  def __post_init__(self) -> None:
    place = f"{self.directory}: " if self.directory else ""
    if not self.characters:
      raise ValueError(f"{place}the alphabet is empty; expected the characters in one line")
    if lines := set(self.characters) & set("\n\r"):
      raise ValueError(f"{place}the alphabet holds {sorted(lines)}; expected one line")
    twice = sorted({c for c in self.characters if self.characters.count(c) > 1})
    if twice:
      raise ValueError(f"{place}the alphabet has {_listed(twice)} more than once; write it once")

  @classmethod
  def from_directory(cls, path: str | os.PathLike[str]) -> "Alphabet":
    """Reads the alphabet of a folder, local or a URL.

    Raises:
      ValueError: there is none, or its file is no single line of distinct characters.
    """
    folder = str(epath.Path(path))
    file = foreign_folder.find(folder, FILE)
    if file is None:
      raise ValueError(
        f"{folder}: no alphabet there; expected {FILE} with the characters in a line"
      )
    try:
      text = foreign_json.read_bytes(file).decode()
    except UnicodeDecodeError as error:
      raise ValueError(f"{file}: its text is not UTF-8 ({error.reason})") from error
    return cls(text.removesuffix("\n").removesuffix("\r"), folder)

  @staticmethod
  def is_in(path: str | os.PathLike[str]) -> bool:
    """Returns whether a directory has an alphabet."""
    return (epath.Path(path) / FILE).is_file()

  def write(self, directory: str | os.PathLike[str]) -> "Alphabet":
    """Writes the file into a folder, which is made if missing; returns the alphabet there."""
    folder = epath.Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(self.characters + "\n", encoding="utf-8")
    return dataclasses.replace(self, directory=str(folder))

  def encode(self, text: str) -> list[int]:
    """Ids of the characters of `text`.

    Raises:
      OutsideAlphabetError: it has characters that are not in the alphabet.
    """
    ids = [self.characters.find(character) + 1 for character in text]
    if 0 in ids:
      outside = sorted({c for c in text if c not in self.characters})
      raise OutsideAlphabetError(
        f"{shown(text)}: {_listed(outside)} not in the alphabet of {len(self.characters)}"
        " characters; normalise the text, or add them to the alphabet of a new model"
      )
    return ids

  def decode(self, ids: Iterable[int]) -> str:
    """Characters of the ids; the blank and ids without a character add nothing."""
    count = len(self.characters)
    return "".join(self.characters[i - 1] for i in map(int, ids) if 0 < i <= count)

  @property
  def vocab_size(self) -> int:
    """Outputs of the model: the characters and the blank."""
    return len(self.characters) + 1

  @property
  def pad_id(self) -> int:
    """The blank."""
    return BLANK

  def checksum(self) -> str:
    """Digest of the characters in their order."""
    return hashlib.sha256(self.characters.encode()).hexdigest()[:16]


def _listed(characters: list[str]) -> str:
  names = " ".join(f"{c!r} (U+{ord(c):04X})" for c in characters[:_SHOWN])
  more = len(characters) - _SHOWN
  return f"{names} and {more} more" if more > 0 else names
