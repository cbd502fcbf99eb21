"""Joining of the texts of pieces."""

import pytest

from maxtext_ext.text.joining import join_texts


@pytest.mark.parametrize(
  ("texts", "joined"),
  [
    ([], ""),
    (["", ""], ""),
    (["a b", "", "c."], "a b c."),
    (["שלום", "עולם"], "שלום עולם"),
    (["你好。", "再见"], "你好。再见"),
    (["こん", "にちは", "OK"], "こんにちは OK"),
    (["สวัสดี", "ครับ"], "สวัสดีครับ"),
    (["안녕", "하세요"], "안녕 하세요"),
  ],
)
def test_texts_are_joined_as_their_script_is_written(texts, joined):
  assert join_texts(texts) == joined
