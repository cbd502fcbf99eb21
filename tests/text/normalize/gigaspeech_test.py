import hypothesis.strategies as st
import pytest
from hypothesis import given

from maxtext_ext.text.normalize import gigaspeech
from maxtext_ext.text.normalize.gigaspeech import FILLERS, GARBAGE, MARKS

# Texts and what utils/gigaspeech_scoring.py of SpeechColab/GigaSpeech leaves of them.
SCORED = [
  ("FOUR O'CLOCK <COMMA> SAID WILLIAMS <PERIOD>", "FOUR O'CLOCK SAID WILLIAMS"),
  ("UH E-COMMERCE UM IS STATE-OF-THE-ART", "E COMMERCE IS STATE OF THE ART"),
  ("<MUSIC>", ""),
  ("<UNK> huh well <unk>", "WELL"),
  ("UH-HUH", ""),
  ("HUMAN AHA UMBRELLA", "HUMAN AHA UMBRELLA"),
]


@pytest.mark.parametrize(("text", "scored"), SCORED)
def test_scoring_as_the_corpus_documents_it(text, scored):
  assert gigaspeech.normalize(text) == scored.lower()


def test_every_word_that_is_not_scored():
  words = "UH UHH UM EH MM HM AH HUH HA ER OOF HEE ACH EEE EW <UNK> <SIL> <NOISE> <MUSIC> <OTHER>"
  assert gigaspeech.normalize(f"{words} <COMMA> <PERIOD> <QUESTIONMARK> <EXCLAMATIONPOINT>") == ""
  assert len(FILLERS) == 15


WORDS = st.sampled_from(["SAID", "HE", "O'CLOCK", "TWENTY-ONE", "UM", *(m.upper() for m in MARKS)])


@given(st.lists(WORDS).map(" ".join))
def test_texts_with_punctuation_score_like_those_without(text):
  plain = gigaspeech.write_marks(text, keep=False)
  marked = gigaspeech.write_marks(text, keep=True)
  assert gigaspeech.normalize(text) == gigaspeech.normalize(plain) == gigaspeech.normalize(marked)
  assert not set(",.?!<>") & set(plain)
  assert gigaspeech.normalize(gigaspeech.normalize(text)) == gigaspeech.normalize(text)


def test_marks_stand_behind_their_words():
  text = "WAIT <EXCLAMATIONPOINT> WHY <QUESTIONMARK> WELL <COMMA> SO <PERIOD>"
  assert gigaspeech.write_marks(text, keep=True) == "wait! why? well, so."
  assert gigaspeech.write_marks(text, keep=False) == "wait why well so"


@pytest.mark.parametrize("tag", sorted(GARBAGE | {"<unk>"}))
def test_tags_of_utterances_without_speech(tag):
  assert gigaspeech.garbage_in(tag.upper()) == tag
  assert gigaspeech.garbage_in(f"WELL {tag}") == tag
  assert gigaspeech.garbage_in("MUSIC <COMMA> NOISE") is None
