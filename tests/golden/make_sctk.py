"""Counts and tests of NIST's SCTK for random texts, stored in sctk.npz.

    apt-get install sctk
    python -m tests.golden.make_sctk

`random_pairs` and `random_systems` make the same texts wherever the file is compared. Stored are
sclite's hits, substitutions, deletions and insertions of each pair, and for each two systems what
sc_stats prints of its matched pairs test: segments, Z and p (0 for "<0.001").
"""

import argparse
import random
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("sctk.npz")
WORDS = ("a", "b", "ab", "c", "ca", "white", "paper", "whitepaper")
# Shares of wrong words of the two systems that are compared.
SYSTEMS = ((0.2, 0.2), (0.2, 0.22), (0.2, 0.24), (0.1, 0.14), (0.3, 0.27), (0.05, 0.2), (0.1, 0.1))

Words = list[str]


def random_pairs(count: int = 10_000) -> list[tuple[Words, Words]]:
  """Makes pairs of word lists: half unrelated, half with errors; references are not empty."""
  rng = random.Random(1)
  pairs = []
  for number in range(count):
    reference = rng.choices(WORDS, k=rng.randint(1, 12))
    other = rng.choices(WORDS, k=rng.randint(0, 12)) if number % 2 else damage(reference, 0.3, rng)
    pairs.append((reference, other))
  return pairs


def random_systems() -> list[tuple[list[Words], list[Words], list[Words]]]:
  """Makes references and the outputs of two systems, for each of SYSTEMS."""
  cases = []
  for seed, shares in enumerate(SYSTEMS):
    rng = random.Random(seed)
    references = [rng.choices(WORDS, k=rng.randint(4, 20)) for _ in range(150)]
    first, second = ([damage(text, share, rng) for text in references] for share in shares)
    cases.append((references, first, second))
  return cases


def damage(words: Words, share: float, rng: random.Random) -> Words:
  """Deletes, replaces or precedes by another word a share of the words."""
  damaged = []
  for word in words:
    if rng.random() >= share:
      damaged.append(word)
    else:
      damaged += rng.choice(([], [rng.choice(WORDS)], [rng.choice(WORDS), word]))
  return damaged


def sclite_counts(pairs: Sequence[tuple[Words, Words]]) -> np.ndarray:
  """Runs sclite; returns hits, substitutions, deletions and insertions, [pairs, 4]."""
  with tempfile.TemporaryDirectory() as folder:
    write(Path(folder, "ref"), [reference for reference, _ in pairs])
    write(Path(folder, "hyp"), [hypothesis for _, hypothesis in pairs])
    sclite(folder, "hyp", "pralign")
    text = Path(folder, "hyp.pra").read_text()
  scores = re.findall(r"id: \(s_(\d+)\)\nScores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)", text)
  assert len(scores) == len(pairs)
  return np.array(sorted([int(value) for value in score] for score in scores))[:, 1:]


def matched_pairs(
  references: list[Words], first: list[Words], second: list[Words]
) -> tuple[int, float, float]:
  """Runs sc_stats; returns segments, Z and p of its matched pairs test."""
  with tempfile.TemporaryDirectory() as folder:
    for name, texts in (("ref", references), ("one", first), ("two", second)):
      write(Path(folder, name), texts)
    alignments = b""
    for name in ("one", "two"):
      sclite(folder, name, "sgml")
      alignments += Path(folder, f"{name}.sgml").read_bytes()
    for output in ("-v", "-u"):  # details and p; one of them at a time
      command = ["sctk", "sc_stats", "-p", "-t", "mapsswe", output, "-n", "out"]
      subprocess.run(command, cwd=folder, input=alignments, check=True, capture_output=True)
    details = Path(folder, "out.stats.mapsswe").read_text()
    summary = Path(folder, "out.stats.unified").read_text()
  segments = int(re.search(r"Number of Segments\s+(\d+)", details)[1])
  z = float(re.search(r"Z Stat:\s*(\S+)\)", details)[1])
  p = re.search(r"MP +\|\| +one.*?(<?\d\.\d{3})", summary)[1]
  return segments, z, 0.0 if p == "<0.001" else float(p)


def write(path: Path, texts: list[Words]) -> None:
  """Writes texts in sclite's form "words (speaker_number)"."""
  path.write_text("".join(f"{' '.join(text)} (s_{n:05d})\n" for n, text in enumerate(texts)))


def sclite(folder: str, name: str, output: str) -> None:
  """Aligns the texts of a file, case by case."""
  files = ["-r", "ref", "trn", "-h", name, "trn", name, "-n", name, "-i", "spu_id"]
  command = ["sctk", "sclite", *files, "-o", output, "-O", ".", "-s"]
  subprocess.run(command, cwd=folder, check=True, capture_output=True)


def main() -> None:
  """Writes the file."""
  argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
  tests = [matched_pairs(*case) for case in random_systems()]
  np.savez_compressed(
    FILE, counts=sclite_counts(random_pairs()).astype(np.int8), tests=np.array(tests)
  )


if __name__ == "__main__":
  main()
