"""Files of tokenizers: ids and text matching of added tokens as in transformers; damaged ones."""

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken
from transformers import AutoTokenizer

from maxtext_ext.text import tokenizer_files
from maxtext_ext.text.tokenizer import Tokenizer, count_entries, train_char_tokenizer

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_start|>", "<|audio_end|>")
CONTROL = (*CONTROL, "<|audio_pad|>")
TEXTS = (
  *("hello shalom", "shalomhello", "shalo m", "a stripme b", "<noise> x", "x<noise>", "foo bar"),
  *("say word and words", "hello", "", "  shalom  shalom"),
)


def byte_characters() -> list[str]:
  """The characters that byte-level tokenizers write bytes as, as GPT-2 has them."""
  kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
  return [*map(chr, kept), *(chr(256 + i) for i in range(256 - len(kept)))]


def entry(content: str, *, special: bool) -> dict:
  flags = dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized"), False)
  return {"content": content, "special": special, **flags}


def write(folder: Path, **config) -> int:
  """A small Qwen tokenizer in the older layout; returns its number of entries."""
  folder.mkdir()
  vocabulary = {char: i for i, char in enumerate((*byte_characters(), "he", "ll", "llo"))}
  (folder / "vocab.json").write_text(json.dumps(vocabulary))
  (folder / "merges.txt").write_text("#version: 0.2\nh e\nl l\nll o\n")
  base = len(vocabulary)
  added = {str(base + i): entry(name, special=True) for i, name in enumerate(CONTROL)}
  added |= {str(base + len(CONTROL)): entry("<asr_text>", special=False)}
  keys = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added}
  keys |= {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None}
  (folder / "tokenizer_config.json").write_text(json.dumps(keys | config))
  return base + len(CONTROL) + 1


def change_config(folder: Path, change) -> None:
  file = folder / "tokenizer_config.json"
  file.write_text(json.dumps(change(json.loads(file.read_text()))))


def saved_with_more(folder: Path) -> Path:
  """Tokens added with transformers, of every kind, and saved by it."""
  write(folder / "old")
  theirs = AutoTokenizer.from_pretrained(folder / "old")
  theirs.add_tokens(["shalom", "foo bar", AddedToken("word", single_word=True)])
  theirs.add_tokens([AddedToken("stripme", lstrip=True, rstrip=True)])
  theirs.add_special_tokens({"additional_special_tokens": ["<noise>"]})
  theirs.save_pretrained(folder / "new")
  return folder / "new"


def in_the_older_layout(folder: Path) -> Path:
  """added_tokens_decoder names them, with ids that leave gaps."""
  size = write(folder / "x")
  more = {str(size + 3): entry("shalom", special=False), str(size + 9): entry("<noise>", special=1)}
  more[str(size + 9)]["special"] = True
  change_config(
    folder / "x",
    lambda c: c | {"added_tokens_decoder": {**c["added_tokens_decoder"], **more}},
  )
  return folder / "x"


def with_a_taken_id(folder: Path) -> Path:
  """Two tokens claim one id; the later key counts."""
  size = write(folder / "x")
  change_config(
    folder / "x",
    lambda c: (
      c
      | {
        "added_tokens_decoder": {
          **c["added_tokens_decoder"],
          str(size): entry("shalom", special=False),
          f"0{size}": entry("foo bar", special=False),
        }
      }
    ),
  )
  return folder / "x"


def named_by_added_tokens_json(folder: Path) -> Path:
  """The layout before added_tokens_decoder."""
  size = write(folder / "x")
  config = json.loads((folder / "x" / "tokenizer_config.json").read_text())
  names = {token["content"]: int(i) for i, token in config.pop("added_tokens_decoder").items()}
  (folder / "x" / "tokenizer_config.json").write_text(json.dumps(config))
  names |= {"shalom": size, "foo bar": size + 2}
  (folder / "x" / "added_tokens.json").write_text(json.dumps(names))
  return folder / "x"


def named_in_both(folder: Path) -> Path:
  """added_tokens_decoder goes before added_tokens.json."""
  size = write(folder / "x")
  (folder / "x" / "added_tokens.json").write_text(json.dumps({"shalom": size}))
  return folder / "x"


def named_as_special(folder: Path) -> Path:
  """Only a list of tokenizer_config.json names it."""
  write(folder / "x", extra_special_tokens=["<noise>", "shalom"])
  return folder / "x"


def beside_tokenizer_json(folder: Path, tokenizer_class: str) -> Path:
  """tokenizer_config.json names other tokens than tokenizer.json."""
  path = saved_with_more(folder)
  size = count_entries(path)
  more = {str(size): entry("say", special=False)}
  change_config(
    path, lambda c: c | {"tokenizer_class": tokenizer_class, "added_tokens_decoder": more}
  )
  return path


def rebuilt(folder: Path) -> Path:
  path = beside_tokenizer_json(folder, "Qwen2Tokenizer")
  own = json.loads((path / "tokenizer.json").read_text())["added_tokens"]
  keep = {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in own[:8]}
  change_config(
    path, lambda c: c | {"added_tokens_decoder": {**keep, "400": entry("say", special=False)}}
  )
  return path


def kept(folder: Path) -> Path:
  return beside_tokenizer_json(folder, "PreTrainedTokenizerFast")


LAYOUTS = (
  *(saved_with_more, in_the_older_layout, with_a_taken_id, named_by_added_tokens_json),
  *(named_in_both, named_as_special, rebuilt, kept),
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_added_tokens_have_the_ids_of_transformers_and_are_found_as_there(tmp_path, layout):
  folder = layout(tmp_path)
  ours, theirs = Tokenizer.from_directory(folder), AutoTokenizer.from_pretrained(folder)
  assert ours.vocab_size == len(theirs)
  for text in TEXTS:
    ids = theirs(text, add_special_tokens=False).input_ids
    assert ours.encode(text) == ids, text
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True), text
  for name in (*CONTROL, "<asr_text>"):
    assert theirs.convert_tokens_to_ids(name) not in ours.encode(f"a{name}b")
  assert ours.audio_pad_id == theirs.convert_tokens_to_ids("<|audio_pad|>")
  assert ours.asr_text_id == theirs.convert_tokens_to_ids("<asr_text>")


def test_a_character_tokenizer_can_be_added_to(tmp_path):
  train_char_tokenizer(["ab"], tmp_path / "a", ["English"])
  theirs = AutoTokenizer.from_pretrained(tmp_path / "a")
  theirs.add_tokens(["shalom"])
  theirs.save_pretrained(tmp_path / "b")
  ours = Tokenizer.from_directory(tmp_path / "b")
  for text in ("ab shalom", "shalomab"):
    assert ours.encode(text) == theirs(text, add_special_tokens=False).input_ids
    assert ours.decode(ours.encode(text)) == text


@pytest.fixture
def folder(tmp_path):
  return saved_with_more(tmp_path)


JSON = "tokenizer.json"
DAMAGED = {
  "cut": (JSON, lambda d: d[: len(d) // 2], "is not JSON"),
  "empty": (JSON, lambda d: b"", "is not JSON"),
  "a list": (JSON, lambda d: b"[]", r"got \[\], expected"),
  "deep": (JSON, lambda d: b"[" * 10**5, "100000 lists or objects inside each other"),
  "no model": (JSON, lambda d: b"{}", "model: missing"),
  "an id of text": (JSON, lambda d: d.replace(b'"id": 259', b'"id": "259"'), "added_tokens.0.id"),
  "a negative id": (JSON, lambda d: d.replace(b'"he": 256', b'"he": -1'), "model.vocab"),
  "an id twice": (JSON, lambda d: d.replace(b'"he": 256', b'"he": 1'), "one id to several"),
  "another model": (JSON, lambda d: d.replace(b'"BPE"', b'"ABC"'), JSON),
  "an unknown entry": (JSON, lambda d: d.replace(b'"he": 256', b'"hx": 256'), JSON),
  "no configuration": ("tokenizer_config.json", lambda d: d[:-5], "is not JSON"),
  "ids that are no numbers": (
    "tokenizer_config.json",
    lambda d: b'{"added_tokens_decoder": {"x": {"content": "a"}}}',
    r"added_tokens_decoder\.x",
  ),
  "a token without text": (
    "tokenizer_config.json",
    lambda d: b'{"added_tokens_decoder": {"300": {"special": true}}}',
    r"added_tokens_decoder\.300\.content: missing",
  ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_named_in_one_line(folder, case):
  name, damage, message = DAMAGED[case]
  data = (folder / name).read_bytes()
  assert damage(data) != data
  (folder / name).write_bytes(damage(data))
  with pytest.raises(ValueError, match=message) as caught:
    Tokenizer.from_directory(folder).encode("a")
  assert name in str(caught.value)
  assert str(caught.value).isprintable()


OLDER = {
  "entries": ("vocab.json", b'{"a": "1"}', "a: got '1'"),
  "entries cut": ("vocab.json", b'{"a": 1', "is not JSON"),
  "an id twice": ("vocab.json", b'{"a": 1, "b": 1}', "one id is given to several"),
  "a merge of one": ("merges.txt", b"#version: 0.2\nh\n", "line 2: got 'h'"),
  "a merge of unknown entries": ("merges.txt", b"#version: 0.2\nq zz\n", ": "),
  "merges in another encoding": ("merges.txt", b"\xff\xfe", "not UTF-8"),
}


@pytest.mark.parametrize("case", OLDER)
def test_a_damaged_file_of_the_older_layout_is_named_in_one_line(tmp_path, case):
  name, content, message = OLDER[case]
  write(tmp_path / "x")
  (tmp_path / "x" / name).write_bytes(content)
  with pytest.raises(ValueError, match=message) as caught:
    tokenizer_files.read(str(tmp_path / "x"))
  assert name in str(caught.value)
  assert str(caught.value).isprintable()


def test_a_model_needs_a_row_for_every_entry(folder):
  tokenizer = Tokenizer.from_directory(folder)
  tokenizer.require_rows(tokenizer.vocab_size)
  with pytest.raises(ValueError, match="the tokenizer has 271 entries, the model vocab_size=64"):
    tokenizer.require_rows(64)
