"""Text <-> token ids, for tokenizers of Hugging Face and the demo's tiny character tokenizer.

Text is normalised as the files say, Qwen's to NFC: vocalised Arabic and Hebrew has its marks in one
order, whatever was typed. `decode(encode(text)) == text` for every text in that form without tokens
that someone added to the published ones. Control tokens exist as ids only: a transcript or a
context that spells `<|im_end|>` becomes ordinary tokens.
"""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tokenizers
from etils import epath
from tokenizers import decoders, models, pre_tokenizers

from maxtext_ext.text import tokenizer_files
from maxtext_ext.text.languages import NO_LANGUAGE, language_name
from maxtext_ext.text.special_tokens import (
  ASR_TEXT,
  AUDIO_END,
  AUDIO_PAD,
  AUDIO_START,
  CONTROL,
  IM_END,
  IM_START,
  OF_QWEN3_ASR,
  PAD,
  QWEN3_ASR_SPECIAL,
  QWEN3_ASR_TOKENS,
  QWEN3_IM_END_ID,
  QWEN3_SIZE,
)
from maxtext_ext.text.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class _Loaded:
  """`model` does not find control tokens in text; `names` and `special` are by id.

  `eos` ends a text.
  """

  model: tokenizers.Tokenizer
  names: dict[int, str]
  special: frozenset[int]
  ids: dict[str, int]
  size: int
  eos: int


@dataclasses.dataclass(frozen=True)
class Tokenizer(Vocabulary):
  """A tokenizer directory, local or gs://, read on first use; only its path is pickled.

  Make one with `Tokenizer.from_directory`. The directory holds `tokenizer.json`, or `vocab.json`,
  `merges.txt` and `tokenizer_config.json`. Where the template needs them, a plain Qwen3 tokenizer
  (151669 entries, no audio tokens) is given Qwen3-ASR's audio tokens at their published ids, and
  Qwen3-Omni's, which has audio tokens of its own, is given `<asr_text>`: fine-tuning teaches the
  model to write it.

  Attributes:
    required: special tokens that it must have, those of its template.
  """

  directory: str
  required: tuple[str, ...] = OF_QWEN3_ASR

  @classmethod
  def from_directory(
    cls, path: str | os.PathLike[str], required: tuple[str, ...] = OF_QWEN3_ASR
  ) -> "Tokenizer":
    """Checks that the directory has tokenizer files, without reading them yet.

    Args:
      path: the directory, local or gs://.
      required: special tokens that must be there, see `templates.Template`; a tokenizer that
        lacks one is refused when it is read.

    Raises:
      ValueError: no tokenizer files there.
    """
    if not cls.is_in(path):
      raise ValueError(
        f"{path}: no tokenizer there; expected a directory with tokenizer.json, or with vocab.json,"
        " merges.txt and tokenizer_config.json"
      )
    return cls(directory=str(epath.Path(path)), required=required)

  @staticmethod
  def is_in(path: str | os.PathLike[str]) -> bool:
    """Returns whether a directory has tokenizer files."""
    directory = epath.Path(path)
    byte_pair_files = (directory / "vocab.json", directory / "merges.txt")
    return (directory / "tokenizer.json").is_file() or all(
      file.is_file() for file in byte_pair_files
    )

  def encode(self, text: str) -> list[int]:
    """Ids of `text` alone: nothing added, never a control token.

    Tokens that were added to the published ones (`add_tokens` of transformers) are found in it.

    Raises:
      ValueError: it holds half of a surrogate pair, as text does that was not decoded as UTF-8.
    """
    try:
      return self._loaded.model.encode(text, add_special_tokens=False).ids
    except TypeError as error:
      at = next(i for i, char in enumerate(text) if "\ud800" <= char <= "\udfff")
      raise ValueError(
        f"{text[max(0, at - 20) : at + 20]!r} is no valid text: lone surrogate at character {at};"
        " read it as UTF-8"
      ) from error

  def decode(self, ids: Iterable[int]) -> str:
    """Text of `ids` without special tokens; `<asr_text>` is not special and stays.

    Ids that have no entry (a model's vocabulary is padded beyond the tokenizer's) add nothing;
    bytes that are not UTF-8 become U+FFFD.
    """
    loaded = self._loaded
    text: list[str] = []
    run: list[int] = []
    for token in map(int, ids):
      if token in loaded.special or not 0 <= token < loaded.size:
        continue
      if token in loaded.names:
        text += [loaded.model.decode(run, skip_special_tokens=False), loaded.names[token]]
        run = []
      else:
        run.append(token)
    return "".join([*text, loaded.model.decode(run, skip_special_tokens=False)])

  @property
  def vocab_size(self) -> int:
    """One more than the largest id; a model's embedding has at least as many rows."""
    return self._loaded.size

  @property
  def pad_id(self) -> int:
    """`<|endoftext|>`, or the eos where there is none."""
    return self._loaded.ids.get(PAD, self.eos_id)

  @property
  def eos_id(self) -> int:
    """Token that ends a text: the `eos_token` of tokenizer_config.json.

    Where none is named it is `<|im_end|>` or `<|endoftext|>`.
    """
    return self._loaded.eos

  @property
  def im_start_id(self) -> int:
    """`<|im_start|>`."""
    return self._loaded.ids[IM_START]

  @property
  def im_end_id(self) -> int:
    """`<|im_end|>`, which ends every answer of Qwen3-ASR."""
    return self._loaded.ids[IM_END]

  @property
  def eos_ids(self) -> frozenset[int]:
    """Ids that end generation: of the eos, `<|endoftext|>` and `<|im_end|>`."""
    ids = self._loaded.ids
    return frozenset((self.eos_id, *(ids[name] for name in (PAD, IM_END) if name in ids)))

  @property
  def audio_start_id(self) -> int:
    """`<|audio_start|>`."""
    return self._loaded.ids[AUDIO_START]

  @property
  def audio_end_id(self) -> int:
    """`<|audio_end|>`."""
    return self._loaded.ids[AUDIO_END]

  @property
  def audio_pad_id(self) -> int:
    """`<|audio_pad|>`, the place of one encoder token."""
    return self._loaded.ids[AUDIO_PAD]

  @property
  def asr_text_id(self) -> int:
    """`<asr_text>`, between language and transcript."""
    return self._loaded.ids[ASR_TEXT]

  def checksum(self) -> str:
    """Checksum of its entries and added tokens, independent of paths and other contents."""
    digest = hashlib.sha256()
    folder = epath.Path(self.directory)
    entries = folder / "tokenizer.json"
    for file in [entries] if entries.is_file() else [folder / "vocab.json", folder / "merges.txt"]:
      digest.update(hashlib.sha256(file.read_bytes()).digest())
    added = sorted(self._loaded.ids.items()), sorted(self._loaded.special)
    digest.update(json.dumps(added).encode())
    return digest.hexdigest()[:16]

  @functools.cached_property
  def _loaded(self) -> _Loaded:
    return _load(self.directory, self.required)

  def __getstate__(self) -> dict[str, Any]:
    return {"directory": self.directory, "required": self.required}


def train_char_tokenizer(
  texts: Iterable[str], directory: str | os.PathLike[str], languages: Iterable[str]
) -> Tokenizer:
  """Writes a tokenizer whose tokens are the characters of `texts`, for small models from scratch.

  Same special tokens as Qwen3-ASR (`<|endoftext|>`, the pad, is 0). The template's words (`system`,
  `language`, ` English`...) are one token each where they stand as a whole word; a character that
  is not in `texts` becomes its UTF-8 bytes. `transformers.AutoTokenizer` reads the directory too.

  Args:
    texts: transcripts to take the characters from.
    directory: made if missing; `tokenizer.json` and `tokenizer_config.json` are written there.
    languages: names to have as single tokens; `None` (no language) is always there.
  """
  template = ("system", "user", "assistant", "language", f" {NO_LANGUAGE}")
  names = sorted({f" {language_name(language)}" for language in languages})
  characters = sorted({" ", "\n"}.union(*texts))
  byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
  entries = dict.fromkeys((*OF_QWEN3_ASR, *template, *names, *characters, *byte_tokens))
  # ignore_merges: a piece that is an entry is one token; there are no merges for the others.
  model = models.BPE(
    vocab={entry: i for i, entry in enumerate(entries)},
    merges=[],
    byte_fallback=True,
    ignore_merges=True,
  )
  tokenizer = tokenizers.Tokenizer(model)
  words = tokenizers.Regex(r" ?\p{L}+")
  tokenizer.pre_tokenizer = pre_tokenizers.Split(words, behavior="isolated")
  tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
  tokenizer.add_special_tokens([name for name in OF_QWEN3_ASR if name != ASR_TEXT])
  tokenizer.add_tokens([tokenizers.AddedToken(ASR_TEXT, normalized=False)])
  target = Path(directory)
  target.mkdir(parents=True, exist_ok=True)
  tokenizer.save(str(target / "tokenizer.json"))
  config = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "eos_token": IM_END,
    "pad_token": PAD,
    "clean_up_tokenization_spaces": False,
  }
  (target / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
  return Tokenizer.from_directory(target)


def count_entries(directory: str | os.PathLike[str]) -> int:
  """One more than the largest id of a folder's tokenizer, whatever its tokens are.

  Raises:
    ValueError: the files are damaged.
  """
  return _size(tokenizer_files.read(os.fspath(directory)).with_added(_is_control))


def _size(tokenizer: tokenizers.Tokenizer) -> int:
  return 1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)


def _is_control(token: tokenizers.AddedToken) -> bool:
  return token.content in CONTROL


def _load(directory: str, required: tuple[str, ...]) -> _Loaded:
  files = tokenizer_files.read(directory)
  model = files.with_added(_is_control)
  model.encode_special_tokens = True  # as ordinary text
  ids = {token.content: i for i, token in model.get_added_tokens_decoder().items()}
  special = {ids[token.content] for token in files.added if token.special}
  size = _size(model)
  lacking = set(required) - ids.keys()
  if AUDIO_PAD in lacking and size == QWEN3_SIZE and ids.get(IM_END) == QWEN3_IM_END_ID:
    ids |= QWEN3_ASR_TOKENS
    special |= {QWEN3_ASR_TOKENS[name] for name in QWEN3_ASR_SPECIAL}
    size += len(QWEN3_ASR_TOKENS)
  elif ASR_TEXT in lacking and _is_omni(ids, size):
    # The id that Qwen3-ASR gives it: free here, and inside the padded vocabulary of 152064.
    ids[ASR_TEXT] = QWEN3_ASR_TOKENS[ASR_TEXT]
    size = ids[ASR_TEXT] + 1
  missing = [name for name in required if name not in ids]
  if missing:
    raise ValueError(
      f"{directory}: the tokenizer lacks {', '.join(missing)}; expected the tokenizer of a"
      " Qwen3-ASR or Qwen3-Omni checkpoint, or a Qwen3 tokenizer without audio tokens"
    )
  ends = [name for name in (files.eos, IM_END, PAD) if name in ids]
  if not ends:
    raise ValueError(
      f"{directory}: the tokenizer says of no token that it ends a text; expected eos_token in"
      " tokenizer_config.json"
    )
  names = {i: name for name, i in ids.items()}
  return _Loaded(
    model=model, names=names, special=frozenset(special), ids=ids, size=size, eos=ids[ends[0]]
  )


def _is_omni(ids: dict[str, int], size: int) -> bool:
  """Returns whether it is Qwen3-Omni's: the Qwen3 tokenizer and audio tokens, no more."""
  is_qwen3 = ids.get(IM_END) == QWEN3_IM_END_ID and ids.get(AUDIO_PAD, -1) >= QWEN3_SIZE
  return is_qwen3 and size <= QWEN3_ASR_TOKENS[ASR_TEXT]
