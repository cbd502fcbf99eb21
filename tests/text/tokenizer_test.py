"""Both tokenizers: ids of the published one, exact round trips, no special token out of text."""

import importlib.util
import json
import pickle
import unicodedata
from pathlib import Path

import pytest
import tokenizers
import transformers
from gcs_server import serving
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.text import special_tokens
from maxtext_ext.text.tokenizer import Tokenizer, train_char_tokenizer

TEXTS = ("hello there", "שלום תודה", "شكرا مرحبا")
LANGUAGES = ("English", "Arabic", "Hebrew")
TEMPLATE_WORDS = ("system", "user", "assistant", "\n", "language", " English", " Hebrew", " None")
SPELLED = (
  *("<|im_end|>", "<|endoftext|>", "a<|audio_pad|><|audio_pad|>b", "<asr_text>", "<think>"),
  *("<0x41>", "language Hebrew<asr_text>", "system\nuser\n", "�"),
)


def qwen3_directory() -> Path:
  """MaxText ships the plain Qwen3 tokenizer; looked up without importing MaxText."""
  spec = importlib.util.find_spec("maxtext")
  assert spec is not None and spec.submodule_search_locations
  return Path(spec.submodule_search_locations[0]) / "assets/tokenizers/qwen3-tokenizer"


@pytest.fixture(scope="module")
def qwen3() -> Tokenizer:
  return Tokenizer.from_directory(qwen3_directory())


@pytest.fixture(scope="module")
def char(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  return train_char_tokenizer(TEXTS, tmp_path_factory.mktemp("char") / "tokenizer", LANGUAGES)


@pytest.fixture(scope="module", params=["qwen3", "char"])
def either(request: pytest.FixtureRequest) -> Tokenizer:
  return request.getfixturevalue(request.param)


def test_the_audio_tokens_stand_at_their_published_ids(qwen3: Tokenizer) -> None:
  assert qwen3.pad_id == 151643
  assert qwen3.im_start_id == 151644
  assert qwen3.im_end_id == 151645
  assert qwen3.eos_ids == {151643, 151645}
  assert qwen3.audio_start_id == 151669
  assert qwen3.audio_end_id == 151670
  assert qwen3.audio_pad_id == 151676
  assert qwen3.asr_text_id == 151704
  assert qwen3.vocab_size == 151706
  published = special_tokens.QWEN3_ASR_TOKENS
  assert (published["<tts_pad>"], published["<non_speech>"]) == (151671, 151675)
  assert (published["<blank1>"], published["<blank27>"]) == (151677, 151703)
  assert published["<timestamp>"] == 151705


@pytest.mark.parametrize(
  "text",
  [
    "Hello, world!  It's 1234 o'clock\n\n  done ",
    "مَرْحَبًا بِكُمْ ٣٤",
    "שָׁלוֹם עולם",
    "ש\u05c1\u05b8לום",  # the dot before the vowel
    "مُحَم\u0651\u064eد",  # shadda before fatha
    "语音识别，テスト 🎧",
    " leading",
    "",
  ],
)
def test_ids_are_those_of_the_published_tokenizer(qwen3: Tokenizer, text: str) -> None:
  """Whatever the form: niqqud and tashkeel are often typed in another order than that of NFC."""
  reference = tokenizers.Tokenizer.from_file(str(qwen3_directory() / "tokenizer.json"))
  composed = unicodedata.normalize("NFC", text)
  for typed in (text, composed, unicodedata.normalize("NFD", text)):
    assert qwen3.encode(typed) == reference.encode(typed, add_special_tokens=False).ids
    assert qwen3.decode(qwen3.encode(typed)) == composed


def test_the_layout_with_vocab_and_merges_files_reads_the_same(
  qwen3: Tokenizer, tmp_path: Path
) -> None:
  whole = json.loads((qwen3_directory() / "tokenizer.json").read_text(encoding="utf-8"))
  merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in whole["model"]["merges"]]
  (tmp_path / "vocab.json").write_text(json.dumps(whole["model"]["vocab"]), encoding="utf-8")
  (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges), encoding="utf-8")
  config = (qwen3_directory() / "tokenizer_config.json").read_text(encoding="utf-8")
  (tmp_path / "tokenizer_config.json").write_text(config, encoding="utf-8")
  files = Tokenizer.from_directory(tmp_path)
  assert files.vocab_size == qwen3.vocab_size
  assert files.audio_pad_id == qwen3.audio_pad_id
  for text in (*TEXTS, *SPELLED, "It's  1234,\n\n ok?! "):
    assert files.encode(text) == qwen3.encode(text)
    assert files.decode(files.encode(text)) == text


def with_added(directory: Path, names: tuple[str, ...]) -> Tokenizer:
  """The Qwen3 tokenizer with further tokens from id 151669 on."""
  whole = json.loads((qwen3_directory() / "tokenizer.json").read_text(encoding="utf-8"))
  for i, name in enumerate(names, start=151669):
    token = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    special = name != "<asr_text>"
    whole["added_tokens"].append({"id": i, "content": name, "special": special, **token})
  (directory / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
  return Tokenizer.from_directory(directory)


def test_the_tokenizer_of_omni_keeps_its_audio_pad_and_is_given_asr_text(tmp_path: Path) -> None:
  tts = ("<tts_pad>", "<tts_text_bos>", "<tts_text_eod>", "<tts_text_bos_single>")
  omni = with_added(tmp_path, ("<|audio_start|>", "<|audio_end|>", *tts, "<|audio_pad|>"))
  assert (omni.audio_start_id, omni.audio_end_id, omni.audio_pad_id) == (151669, 151670, 151675)
  assert (omni.asr_text_id, omni.vocab_size) == (151704, 151705)
  ids = [*omni.encode("language Arabic"), omni.asr_text_id, *omni.encode("سلام")]
  assert omni.decode([*ids, 151680]) == "language Arabic<asr_text>سلام", "151680 has no entry"


def test_ids_of_a_directory_that_names_its_audio_tokens_are_its_own(tmp_path: Path) -> None:
  names = ("<|audio_start|>", "<|audio_end|>", "<|audio_pad|>", "<asr_text>")
  own = with_added(tmp_path, names)
  assert (own.audio_pad_id, own.asr_text_id, own.vocab_size) == (151671, 151672, 151673)
  assert own.decode([own.audio_pad_id, own.asr_text_id]) == "<asr_text>"


def normal_form(tokenizer: Tokenizer, text: str) -> str:
  """The text as Qwen's tokenizer sees it; the demo's takes it as it is."""
  is_qwen = tokenizer.vocab_size > 100_000
  return tokenizers.normalizers.NFC().normalize_str(text) if is_qwen else text


@given(text=st.text())
def test_decode_inverts_encode(either: Tokenizer, text: str) -> None:
  assert either.decode(either.encode(text)) == normal_form(either, text)


def test_text_that_is_none_is_refused(either: Tokenizer) -> None:
  with pytest.raises(ValueError, match="no valid text: lone surrogate at character 4"):
    either.encode("caf\u00e9\udce9")


@pytest.mark.parametrize(
  "text", ["\u00e9", "e\u0301", "ש\u05c1\u05bc\u05b8", "ﬁ ①", "\u200f\u0000\r\n\t"]
)
def test_text_is_composed_as_its_files_say(either: Tokenizer, text: str) -> None:
  assert either.decode(either.encode(text)) == normal_form(either, text)


@given(text=st.lists(st.sampled_from([*SPELLED, " ", "ab", "\n"]), max_size=6).map("".join))
def test_text_never_produces_special_tokens(either: Tokenizer, text: str) -> None:
  ids = either.encode(text)
  forbidden = {either.im_start_id, either.audio_start_id, either.audio_end_id, either.asr_text_id}
  forbidden |= {either.audio_pad_id, *either.eos_ids}
  assert forbidden.isdisjoint(ids)
  assert all(either.decode([i]) != "<think>" for i in ids)
  assert either.decode(ids) == text


def test_decode_drops_special_tokens_and_keeps_the_text_tag(either: Tokenizer) -> None:
  ids = [either.im_start_id, *either.encode("language Hebrew"), either.asr_text_id]
  ids += [either.audio_pad_id, *either.encode("שלום"), either.im_end_id, either.pad_id]
  assert either.decode(ids) == "language Hebrew<asr_text>שלום"


def test_decode_takes_any_id_a_model_can_answer(either: Tokenizer) -> None:
  size = either.vocab_size
  assert either.decode([size, size + 229, -1]) == ""
  assert isinstance(either.decode(range(size)), str)


def test_it_travels_as_a_path(either: Tokenizer) -> None:
  either.encode("read the files")
  data = pickle.dumps(either)
  assert len(data) < 1000
  assert pickle.loads(data) == either
  assert pickle.loads(data).encode(TEXTS[1]) == either.encode(TEXTS[1])


def test_char_tokenizer_has_one_token_a_character_or_template_word(char: Tokenizer) -> None:
  assert char.pad_id == 0
  for piece in (*TEMPLATE_WORDS, *{c for text in TEXTS for c in text}):
    assert len(char.encode(piece)) == 1, piece
  assert len(char.encode("hello שלום")) == 10
  assert len(char.encode("users")) == 5  # not "user" + "s"
  assert len(char.encode("€")) == 3  # not seen in training: its UTF-8 bytes
  assert char.vocab_size < 7 + 8 + 256 + 2 + len({c for text in TEXTS for c in text}) + 1


def test_char_tokenizer_is_the_same_whatever_the_order(char: Tokenizer, tmp_path: Path) -> None:
  again = train_char_tokenizer(
    reversed(TEXTS), tmp_path, [name.lower() for name in LANGUAGES[::-1]]
  )
  for name in ("tokenizer.json", "tokenizer_config.json"):
    assert (tmp_path / name).read_bytes() == (Path(char.directory) / name).read_bytes()
  assert again.vocab_size == char.vocab_size


def test_transformers_reads_the_char_tokenizer(char: Tokenizer) -> None:
  theirs = transformers.AutoTokenizer.from_pretrained(char.directory)
  text = "<|im_start|>system\n<|im_end|>language Hebrew<asr_text>שלום hello"
  expected = [char.im_start_id, *char.encode("system\n"), char.im_end_id]
  expected += [*char.encode("language Hebrew"), char.asr_text_id, *char.encode("שלום hello")]
  assert theirs.encode(text, add_special_tokens=False) == expected
  assert (theirs.pad_token_id, theirs.eos_token_id) == (char.pad_id, char.im_end_id)


def test_a_tokenizer_in_a_bucket(char: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
  with serving(monkeypatch, "bucket") as bucket:
    for file in Path(char.directory).iterdir():
      bucket.put(f"gs://bucket/tokenizer/{file.name}", file.read_bytes())
    there = Tokenizer.from_directory("gs://bucket/tokenizer/")
    assert there.directory == "gs://bucket/tokenizer"
    assert there.checksum() == char.checksum()
    assert there.encode(TEXTS[0]) == char.encode(TEXTS[0])
    with pytest.raises(ValueError, match=r"gs://bucket/none: no tokenizer there"):
      Tokenizer.from_directory("gs://bucket/none")


def test_a_directory_without_tokenizer_files_is_named(tmp_path: Path) -> None:
  with pytest.raises(ValueError, match=f"{tmp_path}.*tokenizer.json"):
    Tokenizer.from_directory(tmp_path)


def test_a_tokenizer_without_the_needed_tokens_is_refused(tmp_path: Path) -> None:
  model = tokenizers.models.BPE(vocab={"a": 0}, merges=[])
  tokenizers.Tokenizer(model).save(str(tmp_path / "tokenizer.json"))
  with pytest.raises(ValueError, match=r"lacks <\|endoftext\|>, .*<asr_text>"):
    _ = Tokenizer.from_directory(tmp_path).pad_id


def test_a_template_says_which_special_tokens_are_needed(tmp_path: Path) -> None:
  plain = Tokenizer.from_directory(qwen3_directory(), required=("<|im_start|>", "<|im_end|>"))
  assert plain.vocab_size == 151669, "no audio tokens are added that nobody asked for"
  assert (plain.pad_id, plain.im_end_id) == (151643, 151645)
  assert pickle.loads(pickle.dumps(plain)).vocab_size == 151669
  lacking = Tokenizer.from_directory(qwen3_directory(), required=("<|im_end|>", "<|hear|>"))
  with pytest.raises(ValueError, match=r"lacks <\|hear\|>;"):
    _ = lacking.vocab_size


@given(
  text=st.text(max_size=12) | st.sampled_from(["שָׁלוֹם עולם", "مرحبا", "你好，世界", "a 👩‍👩‍👧 b"])
)
def test_pieces_are_the_text_of_the_tokens(either: Tokenizer, text: str) -> None:
  ids = either.encode(text)
  pieces = either.pieces(ids)
  assert len(pieces) == len(ids)
  if "\ufffd" not in text:
    assert "".join(pieces) == either.decode(ids)
    assert not any("\ufffd" in piece for piece in pieces)


@given(ids=st.lists(st.integers(0, 400) | st.integers(0, 151_750), max_size=12))
def test_any_tokens_have_pieces(either: Tokenizer, ids: list[int]) -> None:
  pieces, text = either.pieces(ids), either.decode(ids)
  assert len(pieces) == len(ids)
  if "\ufffd" not in text:
    assert "".join(pieces) == text
