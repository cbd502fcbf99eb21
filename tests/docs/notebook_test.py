"""docs/notebooks: executed from beginning to end with a smaller setting, and kept with outputs."""

import pathlib

import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs/notebooks/lmu_demo.ipynb"


@pytest.mark.slow
@pytest.mark.integration_test
def test_every_cell_runs(tmp_path, monkeypatch):
  monkeypatch.setenv("MAXTEXT_EXT_NOTEBOOK", "small")
  monkeypatch.setenv("MAXTEXT_EXT_NOTEBOOK_OUT", str(tmp_path / "out"))
  monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT}/maxtext_ext/compat")
  notebook = nbformat.read(NOTEBOOK, as_version=4)
  nbclient.NotebookClient(
    notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
  ).execute()
  printed = "".join(
    output.text
    for cell in notebook.cells
    if cell.cell_type == "code"
    for output in cell.outputs
    if output.output_type == "stream" and output.name == "stdout"
  )
  assert "8 steps in" in printed and "word error rate" in printed
  assert (tmp_path / "out/report.html").is_file()


def test_it_is_kept_with_the_outputs_of_a_whole_run():
  assert NOTEBOOK.stat().st_size < 1_000_000
  notebook = nbformat.read(NOTEBOOK, as_version=4)
  nbformat.validate(notebook)
  cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
  assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
  outputs = [output for cell in cells for output in cell.outputs]
  assert all(output.output_type != "error" for output in outputs)
  pictures = [output for output in outputs if "image/png" in output.get("data", {})]
  assert len(pictures) == 5
  assert "/work/" not in NOTEBOOK.read_text("utf-8")
