import pathlib
import subprocess

from benchmarks.parity.references import qwen3_asr_files
from maxtext_ext.checkpoint.orbax_io import ParamsReader

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "convert_hf_to_maxtext.sh"


def test_says_how_it_is_used():
  finished = subprocess.run([SCRIPT, "only-one"], capture_output=True, text=True, check=False)
  assert finished.returncode == 2
  assert finished.stderr.startswith("usage: ")


def test_converts_from_any_folder(tmp_path):
  qwen3_asr_files.write(tmp_path / "hf", "original")
  command = [SCRIPT, "hf", "out", "--dtype", "bfloat16"]
  finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
  assert finished.stdout.startswith("out: qwen3_asr, original names")
  reader = ParamsReader(str(tmp_path / "out" / "0" / "items"))
  assert reader.open("token_embedder/embedding").dtype == "bfloat16"
