"""Characters that cannot be seen."""

import pytest

from maxtext_ext.text.normalize.invisible import is_blank, remove_invisible


@pytest.mark.parametrize(
  "text",
  ["", " \t\n", "\u200b", "\ufeff", "\u200e\u202b \u2069", "\u3164", "\u2800", "\ufe0f", "\x07"],
)
def test_nothing_is_seen(text):
  assert is_blank(text)


@pytest.mark.parametrize("text", ["a", "\u200bא", "。", "🎧", "\u064b", "-"])
def test_something_is_seen(text):
  assert not is_blank(text)


def test_joiners_may_stay():
  text = "\u202bمی\u200cخواهم\u202c"
  assert remove_invisible(text, keep_joiners=True) == "می\u200cخواهم"
  assert remove_invisible(text) == "میخواهم"
