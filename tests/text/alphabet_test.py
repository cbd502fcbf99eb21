"""Alphabet: ids of characters, files, and texts that it cannot write."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.text.alphabet import BLANK, FILE, Alphabet, OutsideAlphabetError

ENGLISH = Alphabet(" 'abcdefghijklmnopqrstuvwxyz")


def test_the_blank_is_first_and_characters_follow_in_order():
  assert ENGLISH.vocab_size == 29
  assert ENGLISH.pad_id == BLANK == 0
  assert ENGLISH.encode(" 'abz") == [1, 2, 3, 4, 28]
  assert ENGLISH.decode([3, 0, 4, 0, 0, 5, 29, -1]) == "abc"


@given(text=st.text(alphabet=ENGLISH.characters))
def test_decode_inverts_encode(text: str):
  assert ENGLISH.decode(ENGLISH.encode(text)) == text


def test_characters_outside_are_an_error_that_lists_them():
  with pytest.raises(
    OutsideAlphabetError, match=r"'4' \(U\+0034\) 'É' \(U\+00C9\) not in"
  ) as error:
    ENGLISH.encode("ÉÉ route 44")
  assert "\n" not in str(error.value)
  with pytest.raises(OutsideAlphabetError, match=r"\(U\+0409\) and 30 more not in"):
    ENGLISH.encode("".join(map(chr, range(0x400, 0x428))))


def test_it_is_read_from_the_folder_it_was_written_to(tmp_path: Path):
  hebrew = Alphabet(" אבגד").write(tmp_path / "hebrew")
  assert (tmp_path / "hebrew" / FILE).read_text(encoding="utf-8") == " אבגד\n"
  again = Alphabet.from_directory(tmp_path / "hebrew")
  assert again == hebrew == pickle.loads(pickle.dumps(hebrew))
  assert again.checksum() == Alphabet(" אבגד").checksum() != Alphabet("אבגד ").checksum()
  assert Alphabet.is_in(tmp_path / "hebrew") and not Alphabet.is_in(tmp_path)


@pytest.mark.parametrize(
  ("content", "said"),
  [
    (None, "no alphabet there; expected alphabet.txt"),
    (b"", "alphabet is empty"),
    (b"\n", "alphabet is empty"),
    (b"ab\ncd\n", "expected one line"),
    (b"abca\n", r"has 'a' \(U\+0061\) more than once"),
    (b"\xff", "not UTF-8"),
  ],
)
def test_a_file_that_is_no_alphabet_is_refused(tmp_path: Path, content: bytes | None, said: str):
  if content is not None:
    (tmp_path / FILE).write_bytes(content)
  with pytest.raises(ValueError, match=f"{tmp_path}.*{said}"):
    Alphabet.from_directory(tmp_path)


def test_a_model_with_too_few_outputs_is_refused():
  ENGLISH.require_rows(29)
  with pytest.raises(ValueError, match="has 29 entries, the model vocab_size=28"):
    ENGLISH.require_rows(28)
