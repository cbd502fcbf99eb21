"""The training loop's metrics, read back for the curves of a report."""

import json
import os

from etils import epath

# The file in the folder of a run.
METRICS_FILE = "metrics.jsonl"


def read_metrics(path: str | os.PathLike[str], name: str = "loss") -> list[tuple[int, float]]:
  """Reads one metric from JSON lines like {"step": 10, "loss": 2.5, ...}, by rising step.

  Lines without the metric are passed over. A run that was resumed wrote some steps twice: the later
  line counts. A last line without its line break was cut by the end of the run and is dropped.

  Raises:
    ValueError: no such file, or a line that is not of this form; the message names the line.
  """
  path = epath.Path(path)
  if not path.is_file():
    raise ValueError(f"{path}: no such file; expected the metrics.jsonl of a training run")
  values: dict[int, float] = {}
  *lines, _ = path.read_bytes().split(b"\n")
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    try:
      entry = json.loads(line)
    except ValueError as error:
      raise ValueError(f"{path}:{number}: not a line of JSON: {error}") from error
    if type(entry) is not dict or type(entry.get("step")) is not int:
      raise ValueError(f'{path}:{number}: expected an object with a whole number "step"')
    if name not in entry:
      continue
    if type(entry[name]) not in (int, float):
      raise ValueError(f"{path}:{number}: {name} is {entry[name]!r}, expected a number")
    values[entry["step"]] = float(entry[name])
  return sorted(values.items())
