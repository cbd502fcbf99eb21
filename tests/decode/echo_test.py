"""Answers made of the context."""

import pytest

from maxtext_ext.decode.echo import is_heard, is_suspect


@pytest.mark.parametrize(
  ("text", "context", "suspect"),
  [
    ("Cohen, Levi.", "cohen levi mizrahi", True),
    ("Levi Levi Levi", "Cohen, Levi", True),
    ("淋巴结 臀位", "淋巴结、臀位、积液", True),
    ("כהן לוי", "כהן, לוי", True),
    ("Mr Cohen is here", "Cohen, Levi", False),
    ("", "Cohen", False),
    ("?!", "Cohen", False),
    ("Cohen", "", False),
  ],
)
def test_only_answers_of_the_contexts_words_are_suspect(text, context, suspect):
  assert is_suspect(text, context) == suspect


@pytest.mark.parametrize(
  ("text", "plain", "heard"),
  [
    ("Dana Cohen", "Dinah Kohen.", True),
    ("כהן", "קוהן", True),
    ("积液", "积业", True),
    ("Cohen, Levi, Mizrahi", "", False),
    ("Cohen, Levi, Mizrahi", "good morning everybody", False),
    ("תודה רבה", "shalom", False),
  ],
)
def test_what_was_said_is_alike_without_the_context(text, plain, heard):
  assert is_heard(text, plain) == heard
