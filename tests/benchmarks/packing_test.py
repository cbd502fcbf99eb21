import json
import runpy
from pathlib import Path


def test_ends_with_its_figures_as_json(capsys):
  runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "packing.py"), run_name="__main__")
  figures = json.loads(capsys.readouterr().out.splitlines()[-1])
  assert figures["name"] == "packing"
  assert figures["ours"] == figures["token_fill"] >= 0.97
  assert figures["chunk_fill"] >= 0.95
  assert figures["ratio"] > 2
  assert figures["clips_per_second"] >= 5_000
