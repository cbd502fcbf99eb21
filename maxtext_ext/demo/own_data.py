"""A user's own JSONL lines, cut into train, validation and test for the demo."""

import hashlib
import json
import os
import pathlib

SHARES = {"test": 0.05, "validation": 0.05}  # the rest is training
MIN_LINES = 3


def split_lines(path: str, out: pathlib.Path) -> dict[str, int]:
  """Writes `{out}/{split}.jsonl` from the lines of a JSONL file; returns how many each got.

  The lines are ordered by their hash, so the split does not follow the order of the file.
  Audio paths are made absolute; lines that are no JSON go to training as they are, where conversion
  quarantines them.

  Raises:
    ValueError: when there are too few lines for three splits, or no file.
  """
  if not os.path.isfile(path):
    raise ValueError(f"DATA file {path} not found; expected a JSONL file of audio paths and texts")
  folder = os.path.dirname(os.path.abspath(path))
  lines = [line for line in pathlib.Path(path).read_bytes().splitlines() if line.strip()]
  if len(lines) < MIN_LINES:
    raise ValueError(f"{path} has {len(lines)} lines, expected at least {MIN_LINES}")
  ranked = sorted(lines, key=lambda line: hashlib.sha256(line).digest())
  shards: dict[str, list[bytes]] = {}
  taken = 0
  for split, share in SHARES.items():
    count = max(1, round(share * len(lines)))
    shards[split] = ranked[taken : taken + count]
    taken += count
  shards["train"] = ranked[taken:]
  out.mkdir(parents=True, exist_ok=True)
  for split, content in shards.items():
    absolute = [_absolute(line, folder) for line in content]
    (out / f"{split}.jsonl").write_bytes(b"\n".join(absolute) + b"\n")
  return {split: len(content) for split, content in shards.items()}


def _absolute(line: bytes, folder: str) -> bytes:
  try:
    value = json.loads(line)
  except ValueError:
    return line
  if not isinstance(value, dict) or not isinstance(value.get("audio"), str):
    return line
  return json.dumps({**value, "audio": os.path.join(folder, value["audio"])}).encode()
