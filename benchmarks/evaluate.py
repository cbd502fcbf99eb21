"""Scoring of 100,000 pairs with intervals of 1,000 resamples, on one core.

    python -m benchmarks.evaluate

Sentences of 3 to 30 common words from 500 speakers; 8% of the words are replaced, deleted or come
after a wrong one. Everything that `evaluate` does before it prints is timed: normalisation, counts
of words and characters, groups, and intervals by speaker and by clip. The peers do less, with
the basic normaliser: jiwer counts words and characters without intervals; kaldialign counts words,
with one interval. A JSON line each.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator

import jiwer
import kaldialign

from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.wer import Method, score
from maxtext_ext.text.normalize import get_normalizer

VOCABULARY = (
  "the of and to in is you that it he was for on are as with his they I at be this have from or one"
  " had by word but not what all were we when your can said there use an each which she do how"
  " their if will up other about out many then them these so some her would make like him into time"
  " has look two more write go see number no way could people my than first water been"
  " call who oil its now find long down day did get come made may part"
  " don't it's colour twenty Mr. Doctor"
)
WORDS = VOCABULARY.split()


def main() -> None:
  """Measures, and prints the JSON lines."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--pairs", type=int, default=100_000)
  count = parser.parse_args().pairs
  hypotheses = make_hypotheses(count)
  kaldi = seconds_of(lambda: score_by_kaldialign(hypotheses))
  jiwers = seconds_of(lambda: score_by_jiwer(hypotheses))
  for name in ("english", "basic"):
    for block in ("speaker", "clip"):
      method = Method(block=block)
      ours = seconds_of(lambda name=name, method=method: score(hypotheses, name, method=method))
      report(name, block, count, ours, jiwer=jiwers, kaldialign=kaldi)


def make_hypotheses(count: int) -> list[Hypothesis]:
  """Makes pairs of texts."""
  rng = random.Random(0)
  hypotheses = []
  for number in range(count):
    words = rng.choices(WORDS, k=rng.randint(3, 30))
    hypotheses.append(
      Hypothesis(
        id=str(number),
        dataset=f"set{number % 3}",
        language="English",
        duration=len(words) / 2.5,
        reference=" ".join(words).capitalize() + ".",
        hypothesis=" ".join(damage(words, rng)),
        extra={"speaker": f"s{rng.randrange(500)}"},
      )
    )
  return hypotheses


def damage(words: list[str], rng: random.Random) -> Iterator[str]:
  """Yields the words with errors."""
  for word in words:
    chance = rng.random()
    if chance < 0.06:
      yield rng.choice(WORDS)
    if not 0.02 < chance < 0.08:
      yield word


def score_by_jiwer(hypotheses: list[Hypothesis]) -> None:
  """Counts words and characters."""
  normalize = get_normalizer("basic")
  references = [normalize(item.reference) for item in hypotheses]
  texts = [normalize(item.hypothesis) for item in hypotheses]
  jiwer.process_words(references, texts)
  jiwer.process_characters(references, texts)


def score_by_kaldialign(hypotheses: list[Hypothesis]) -> None:
  """Counts words, and resamples utterances."""
  normalize = get_normalizer("basic")
  references = [normalize(item.reference).split() for item in hypotheses]
  texts = [normalize(item.hypothesis).split() for item in hypotheses]
  kaldialign.batch_error_rate(references, texts)
  kaldialign.bootstrap_wer_ci(references, texts, replications=1000)


def seconds_of(work: Callable[[], object]) -> float:
  """Processor seconds of a call."""
  began = time.process_time()
  work()
  return time.process_time() - began


def report(
  normalizer: str, block: str, pairs: int, ours: float, *, jiwer: float, kaldialign: float
) -> None:
  """Prints a JSON line."""
  figures = {
    "name": "evaluate",
    "normalizer": normalizer,
    "block": block,
    "pairs": pairs,
    "ours": round(ours, 2),
    "peer": round(jiwer, 2),
    "ratio": round(jiwer / ours, 2),
    "unit": "processor seconds",
    "kaldialign": round(kaldialign, 2),
  }
  print(json.dumps(figures), flush=True)


if __name__ == "__main__":
  main()
