"""Prefix beam search over the output of a CTC model, with a language model and expected words.

It runs on the host, in the C++ of the package ctc-beam-decoder (the extra ctc), which follows
pyctcdecode. Paths that say the same words add up: a text that many paths share may be likelier than
that of the likeliest path. Sources: Hannun et al. 2014, "First-pass large vocabulary continuous
speech recognition using bi-directional recurrent DNNs"; https://github.com/kensho-technologies/pyctcdecode.
"""

import functools
import math
import types
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from maxtext_ext.files import storage
from maxtext_ext.text.alphabet import BLANK, Alphabet, OutsideAlphabetError
from maxtext_ext.text.arpa import ArpaHead, read_head

LEAST_PROBABILITY = 1e-15  # to which the search raises smaller ones
# The library reads these as marks of sub-words and ends of strings, and "|" as a space.
_MISREAD = ("\u2581", "\0")
_SPACE = " "
_LEAST = math.log(LEAST_PROBABILITY)
_LEAST_ORDER = 2
# As pyctcdecode's `decode` does, and without any of it.
_QUICK = {"token_min_logp": -5.0, "beam_prune_logp": -10.0, "prune_history": True}
_THOROUGH = {"token_min_logp": -1e9, "beam_prune_logp": -1e9, "prune_history": False}


@functools.cache
def import_library() -> types.ModuleType:
  """Imports ctc-beam-decoder.

  Raises:
    ValueError: it is not there, or its shared library cannot be loaded.
  """
  try:
    import ctc_beam_decoder

    ctc_beam_decoder.has_kenlm()
  except (ImportError, OSError) as error:
    raise ValueError(
      f"beam search of a CTC model needs the package ctc-beam-decoder ({error}): pip install"
      " 'maxtext_ext[ctc]' (Linux on x86-64 with glibc 2.35, macOS on Apple silicon, Windows), or"
      " decode greedily with beams=1"
    ) from error
  return ctc_beam_decoder


class PrefixSearch:
  """Search with one alphabet and language model; may be used by several threads at once.

  The library's calls release Python's lock, so threads search on as many cores.

  Args:
    alphabet: of the model; a space ends a word.
    beams: hypotheses that are followed.
    lm_path: an ARPA file, plain or compressed, local or a URL; "": no language model.
    lm_weight: of the logarithm of its probability, beside the model's.
    lm_word_score: added for each word, as a language model prefers few.
    hotwords: words to expect.
    hotword_weight: score of such a word, by parts as it is spelled.
    thorough: follow every symbol at every frame, and all hypotheses but for `beams`. Else symbols
      of a probability below 0.7% are left out, hypotheses that are far behind, and of those which
      may go on in the same way all but the best: several times as fast, and hardly another text.

  Raises:
    ValueError: the library is missing, the language model cannot be used, or words of either have
      no letters of the alphabet.
  """

  def __init__(
    self,
    alphabet: Alphabet,
    *,
    beams: int,
    lm_path: str = "",
    lm_weight: float = 0.5,
    lm_word_score: float = 1.5,
    hotwords: Sequence[str] = (),
    hotword_weight: float = 10.0,
    thorough: bool = False,
  ) -> None:
    library = import_library()
    _check_alphabet(alphabet)
    _check_hotwords(alphabet, hotwords)
    self._alphabet, self._space = alphabet, alphabet.characters.find(_SPACE) + 1
    labels = ["", *alphabet.characters]
    self._decoder = library.BeamSearchDecoder(labels)
    self._score_of_nothing: float | None = None  # of the language model; None: there is none
    if lm_path:
      head, words = _read_vocabulary(alphabet, lm_path)
      self._score_of_nothing = lm_weight * math.log(10) * head.nothing
      with storage.local_copy(lm_path) as path:
        try:
          self._decoder = library.BeamSearchDecoder(
            labels, kenlm_model_path=path, unigrams=words, alpha=lm_weight, beta=lm_word_score
          )
        except ValueError as error:
          reason = " ".join(str(error).split())
          raise ValueError(f"lm_path: {lm_path}: KenLM cannot read it ({reason})") from error
    expected = {"hotwords": list(hotwords), "hotword_weight": hotword_weight}
    self._options = {"beam_width": beams, **expected, **(_THOROUGH if thorough else _QUICK)}
    self._one_path = {"beam_width": 1, **expected, **_QUICK}

  def __call__(self, log_probs_FV: Float[np.ndarray, "F V"]) -> list[int]:
    """Returns the ids of the best text; spaces are single and between words.

    Args:
      log_probs_FV: natural logarithms of the probabilities of the blank and the characters.
    """
    text, _ = self.best(log_probs_FV)
    return self._alphabet.encode(text)

  def best(self, log_probs_FV: Float[np.ndarray, "F V"]) -> tuple[str, float]:
    """Returns the best text and its score.

    Without a language model and hot words that is the logarithm of the probability of its paths.
    """
    if not len(log_probs_FV):
      return "", 0.0
    if self._score_of_nothing is None:
      text, _, _, _, score = self._decoder.decode_beams(log_probs_FV, **self._options)[0]
      return text, score
    # The library scores the end of a text as after an unknown word where the text may end with a
    # space (as pyctcdecode does). So all end with one, and the language model scores them again.
    log_probs_FV = np.concatenate([log_probs_FV, self._one_hot([self._space])])
    found = self._decoder.decode_beams(log_probs_FV, **self._options)
    scores = [(score + self._score_words(text), text) for text, _, _, score, _ in found]
    score, text = max(scores, key=lambda pair: pair[0])
    return text, score

  def _score_words(self, text: str) -> float:
    """Returns what the language model and hot words add for a text."""
    if not text:
      assert self._score_of_nothing is not None
      return self._score_of_nothing
    path: list[int] = []
    for label in self._alphabet.encode(text):
      path += [BLANK, label] if path[-1:] == [label] else [label]
    _, _, _, score, total = self._decoder.decode_beams(self._one_hot(path), **self._one_path)[0]
    return total - score

  def _one_hot(self, path: Sequence[int]) -> Float[np.ndarray, "F V"]:
    """Returns log-probabilities of frames that say a path and nothing else."""
    log_probs_FV = np.full((len(path), self._alphabet.vocab_size), _LEAST, np.float32)
    log_probs_FV[range(len(path)), path] = 0
    return log_probs_FV


def _check_alphabet(alphabet: Alphabet) -> None:
  misread = [c for c in _MISREAD if c in alphabet.characters]
  if "|" in alphabet.characters and _SPACE not in alphabet.characters:
    misread.append("|")
  if misread:
    raise ValueError(
      f"{alphabet.directory}: beam search cannot write {misread}, which its library reads as"
      " something else; decode greedily with beams=1"
    )


def _check_hotwords(alphabet: Alphabet, hotwords: Sequence[str]) -> None:
  if hotwords and not all(word.strip() for word in hotwords):
    raise ValueError("hotwords: an empty word; leave it out")
  try:
    alphabet.encode("".join("".join(words.split()) for words in hotwords))
  except OutsideAlphabetError as error:
    raise ValueError(f"hotwords: {error}") from error


def _read_vocabulary(alphabet: Alphabet, path: str) -> tuple[ArpaHead, list[str]]:
  """Reads the head of a language model, and its words that the alphabet can spell."""
  if _SPACE not in alphabet.characters:
    raise ValueError(
      f"lm_path: {path}: a language model of words needs an alphabet with a space; leave it out"
    )
  try:
    head = read_head(path)
  except ValueError as error:
    raise ValueError(f"lm_path: {error}") from error
  words = head.words
  if head.order < _LEAST_ORDER:
    raise ValueError(
      f"lm_path: {path}: it has single words alone, expected n-grams of two words or more, which"
      " KenLM needs; make it with --order 2 or more"
    )
  letters = set(alphabet.characters)
  spelled = [word for word in words if letters.issuperset(word)]
  if not spelled:
    raise ValueError(
      f"lm_path: {path}: none of its {len(words)} words, such as {words[:1]}, has only characters"
      " of the model's alphabet; make it of texts that are written as the model writes"
    )
  return head, spelled
