"""Files of a Hugging Face tokenizer: entries, and the tokens that were added to them.

An added token gets the id that transformers gives it: that of an entry of the same text, or the
next free one, in the order of the files. Ids that the files claim only set that order.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import pydantic
import tokenizers
from etils import epath
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

from maxtext_ext.files import foreign_folder, foreign_json
from maxtext_ext.files.foreign_json import shown

_JSON, _CONFIG, _ADDED = "tokenizer.json", "tokenizer_config.json", "added_tokens.json"
_VOCABULARY, _MERGES = "vocab.json", "merges.txt"
# Keys of tokenizer_config.json that name single tokens, and lists of them.
_NAMED = (
  "bos_token",
  "eos_token",
  "unk_token",
  "sep_token",
  "pad_token",
  "cls_token",
  "mask_token",
)
_LISTS = ("extra_special_tokens", "additional_special_tokens")

# Splits text into the pieces that byte-pair merges stay inside (tokenizer.json of Qwen/Qwen3-0.6B).
_QWEN3_PIECES = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
  r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_Id = Annotated[int, pydantic.Field(ge=0, lt=2**31)]
_IdText = Annotated[str, pydantic.Field(pattern=r"^[0-9]{1,10}$")]


class _Token(foreign_json.Schema):
  """An added token, as transformers and tokenizers save it."""

  model_config = pydantic.ConfigDict(extra="ignore", strict=True, frozen=True)

  content: Annotated[str, pydantic.Field(min_length=1)]
  single_word: bool = False
  lstrip: bool = False
  rstrip: bool = False
  normalized: bool | None = None
  special: bool = False

  def added(self) -> AddedToken:
    """Added token in the form of the tokenizers package."""
    flags = self.model_dump(include=set(_Token.model_fields) - {"content"}, exclude_none=True)
    return AddedToken(self.content, **flags)


class _NumberedToken(_Token):
  id: _Id


class _Config(foreign_json.Schema):
  """tokenizer_config.json: what of it says which tokens there are."""

  model_config = pydantic.ConfigDict(extra="ignore", strict=True, frozen=True)

  tokenizer_class: str | None = None
  added_tokens_decoder: dict[_IdText, _Token] | None = None
  bos_token: str | _Token | None = None
  eos_token: str | _Token | None = None
  unk_token: str | _Token | None = None
  sep_token: str | _Token | None = None
  pad_token: str | _Token | None = None
  cls_token: str | _Token | None = None
  mask_token: str | _Token | None = None
  extra_special_tokens: list[str | _Token] | dict[str, str | _Token] | None = None
  additional_special_tokens: list[str | _Token] | None = None

  def special(self) -> list[_Token]:
    """The tokens that it names, without an id."""
    values = [getattr(self, key) for key in _NAMED]
    for key in _LISTS:
      found = getattr(self, key) or []
      values += list(found.values()) if isinstance(found, dict) else found
    tokens = [_Token(content=v, special=True) if isinstance(v, str) else v for v in values if v]
    return [token.model_copy(update={"special": True}) for token in tokens]


class _Model(foreign_json.Schema):
  model_config = pydantic.ConfigDict(extra="ignore", strict=True, frozen=True)

  vocab: dict[str, _Id] | list[Any]


class _File(foreign_json.Schema):
  """tokenizer.json: what is checked before the tokenizers package reads it."""

  model_config = pydantic.ConfigDict(extra="ignore", strict=True, frozen=True)

  model: _Model
  added_tokens: list[_NumberedToken] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerFiles:
  """Content of the files of a folder.

  Attributes:
    tokenizer: normalizer, pieces, entries and decoder; without added tokens.
    added: in the order in which they are added.
    eos: the token that ends a text, one of `added`; None where the files name none.
  """

  tokenizer: tokenizers.Tokenizer
  added: tuple[AddedToken, ...]
  eos: str | None = None

  def with_added(self, is_special: Callable[[AddedToken], bool]) -> tokenizers.Tokenizer:
    """The tokenizer with its added tokens, those of `is_special` marked as special."""
    made = tokenizers.Tokenizer(self.tokenizer.model)
    if self.tokenizer.normalizer is not None:
      made.normalizer = self.tokenizer.normalizer
    made.pre_tokenizer = self.tokenizer.pre_tokenizer
    made.decoder = self.tokenizer.decoder
    made.add_tokens(
      [
        AddedToken(
          token.content,
          single_word=token.single_word,
          lstrip=token.lstrip,
          rstrip=token.rstrip,
          normalized=token.normalized,
          special=is_special(token),
        )
        for token in self.added
      ]
    )
    return made


def read(folder: str) -> TokenizerFiles:
  """Reads tokenizer.json, or vocab.json and merges.txt; and the tokens that other files add.

  Raises:
    ValueError: a file is missing, damaged or holds something else.
  """
  config = _checked(_Config, folder, _CONFIG, foreign_json.CONFIG) or _Config()
  if file := foreign_folder.find(folder, _JSON):
    data = foreign_json.read_bytes(file, foreign_json.TOKENIZER)
    content = foreign_json.parse(data, str(file), foreign_json.TOKENIZER)
    own = _numbered(foreign_json.check(_File, content, str(file)), str(file))
    with _naming(file):
      source = tokenizers.Tokenizer.from_str(data.decode("utf-8-sig"))
  else:
    own, source = {}, _read_byte_pairs(folder)
    if foreign_folder.find(folder, _CONFIG) is None:
      raise ValueError(f"{folder}: no {_CONFIG} there, which names the special tokens")
  named = config.eos_token
  eos = named.content if isinstance(named, _Token) else named or None
  return TokenizerFiles(tokenizer=source, added=_in_order(folder, config, own), eos=eos)


def _numbered(file: _File, source: str) -> dict[int, _Token]:
  if isinstance(file.model.vocab, dict) and len(set(file.model.vocab.values())) < len(
    file.model.vocab
  ):
    raise ValueError(f"{source}: model.vocab gives one id to several entries")
  return {token.id: token for token in file.added_tokens or ()}


def _in_order(folder: str, config: _Config, own: Mapping[int, _Token]) -> tuple[AddedToken, ...]:
  """The added tokens as `PreTrainedTokenizerBase._from_pretrained` of transformers adds them.

  Its classes that build Qwen's tokenizer anew take added_tokens_decoder, if there is one, instead
  of what tokenizer.json adds; the others add what that lacks.
  """
  special = config.special()
  named = {token.content for token in special}
  if config.added_tokens_decoder is not None:
    said = {int(i): token for i, token in config.added_tokens_decoder.items()}
  else:
    older = _checked(dict[str, _Id], folder, _ADDED, foreign_json.TOKENIZER) or {}
    said = {
      i: _Token(content=text, special=text in named, normalized=text not in named)
      for text, i in older.items()
    }
    said |= own
  rebuilt = (config.tokenizer_class or "").removesuffix("Fast") == "Qwen2Tokenizer"
  first = [] if rebuilt else [own[i] for i in sorted(own)]
  tokens = [*first, *(said[i] for i in sorted(said)), *special]
  by_text: dict[str, _Token] = {}
  for token in tokens:
    by_text.setdefault(token.content, token)
  return tuple(
    token.model_copy(update={"special": token.special or token.content in named}).added()
    for token in by_text.values()
  )


def is_in(folder: str) -> bool:
  """Returns whether a folder holds a tokenizer.

  Raises:
    ValueError: one of its files is no regular file of the folder.
  """
  names = (_JSON, _VOCABULARY, _MERGES)
  single, *pair = (foreign_folder.find(folder, name) is not None for name in names)
  return single or all(pair)


def _read_byte_pairs(folder: str) -> tokenizers.Tokenizer:
  """The older layout, in which Qwen publishes its original checkpoints."""
  found = [foreign_folder.find(folder, name) for name in (_VOCABULARY, _MERGES)]
  if None in found:
    raise ValueError(f"{folder}: no tokenizer there; expected {_JSON}, or {_VOCABULARY}, {_MERGES}")
  vocabulary, merges = found
  entries = foreign_json.read(vocabulary, foreign_json.TOKENIZER)
  foreign_json.check(dict[str, _Id], entries, str(vocabulary))
  if len(set(entries.values())) < len(entries):
    raise ValueError(f"{vocabulary}: one id is given to several entries")
  with _naming(merges):
    source = tokenizers.Tokenizer(models.BPE(vocab=entries, merges=_read_merges(merges)))
  source.normalizer = normalizers.NFC()
  source.pre_tokenizer = pre_tokenizers.Sequence(
    [
      pre_tokenizers.Split(tokenizers.Regex(_QWEN3_PIECES), behavior="isolated"),
      pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
  )
  source.decoder = decoders.ByteLevel()
  return source


def _read_merges(file: epath.Path) -> list[tuple[str, str]]:
  try:
    text = foreign_json.read_bytes(file, foreign_json.TOKENIZER).decode()
  except UnicodeDecodeError as error:
    raise ValueError(f"{file}: its text is not UTF-8 ({error.reason})") from error
  pairs = []
  for number, line in enumerate(text.split("\n"), 1):
    if not line or (number == 1 and line.startswith("#version")):
      continue
    pair = line.removesuffix("\r").split(" ")
    if len(pair) != 2:
      raise ValueError(f"{file}, line {number}: got {shown(line)}, expected two entries to merge")
    pairs.append((pair[0], pair[1]))
  return pairs


def _checked(schema: Any, folder: str, name: str, limits: foreign_json.Limits) -> Any:
  """The content of an optional file, None where it is not there."""
  if (file := foreign_folder.find(folder, name)) is None:
    return None
  return foreign_json.check(schema, foreign_json.read_object(file, limits), str(file))


@contextmanager
def _naming(file: epath.Path) -> Iterator[None]:
  """Names the file in whatever the tokenizers package raises, which is a bare Exception."""
  try:
    yield
  except ValueError:
    raise
  except Exception as error:
    raise ValueError(f"{file}: {str(error).splitlines()[0]}") from error
