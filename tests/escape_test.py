"""Escaping: characters that a terminal would obey, and none that people write."""

import sys
import unicodedata

import pytest

from maxtext_ext.escape import printable

BIDI_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.parametrize(
  ("text", "shown"),
  [
    ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
    ("\x9b2J", r"\x9b2J"),
    ("a\nb\r\tc", r"a\nb\r\tc"),
    ("a\x00\x08\x7f", r"a\x00\x08\x7f"),
    ("\u202egnp.exe", r"\u202egnp.exe"),
    ("\u2066a\u2069", r"\u2066a\u2069"),
    ("line\u2028paragraph\u2029", r"line\u2028paragraph\u2029"),
    ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
    ("\ud800", r"\ud800"),
    ("tag\U000e0041", r"tag\U000e0041"),
  ],
)
def test_what_a_terminal_obeys_is_escaped(text, shown):
  assert printable(text) == shown


@pytest.mark.parametrize(
  "text",
  [
    "",
    "plain [red]text[/red] C:\\new",
    "שָׁלוֹם, עוֹלָם",
    "السَّلامُ عليكم\u060c \u06dd\u0661",
    "Cohen \u200fשלום\u200e (Levi)",
    "می\u200cخواهم",
    "👩\u200d👩\u200d👧",
    "5\u00a0000\u202f€ 東京\u3000駅",
  ],
)
def test_what_people_write_stays(text):
  assert printable(text) == text


def test_no_control_character_of_unicode_is_left():
  everything = printable("".join(map(chr, range(sys.maxunicode + 1))))
  left = {char for char in everything if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")}
  left |= {char for char in everything if unicodedata.bidirectional(char) in BIDI_CONTROLS}
  assert not left
  everything.encode()  # no lone surrogate
