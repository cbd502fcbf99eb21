"""Files of a report: the page, and its figures beside it as JSON and Markdown."""

import os
from collections.abc import Iterable

from etils import epath

from maxtext_ext.files import storage
from maxtext_ext.files.outputs import is_inside, require_apart, require_file_place

_DATA = (".json", ".md", ".jsonl", ".csv")


def report_files(page: str | os.PathLike[str]) -> tuple[str, str, str]:
  """Returns the paths of the page, the JSON and the Markdown file.

  Raises:
    ValueError: the page would have the name of its figures, or of data.
  """
  path = epath.Path(page)
  if path.suffix in _DATA:
    raise ValueError(
      f"{os.fspath(page)}: the page is HTML, with its figures in .json and .md files beside it;"
      " name it .html"
    )
  return os.fspath(page), os.fspath(path.with_suffix(".json")), os.fspath(path.with_suffix(".md"))


def check_place(page: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]]) -> None:
  """Checks that a report can be written, and over nothing but an earlier report.

  Args:
    inputs: files and folders that the command reads.

  Raises:
    ValueError: it would take the place of an input or of a file in a folder of the inputs, or
      there can be no file of its name.
  """
  outputs, read = report_files(page), [os.fspath(path) for path in inputs]
  for output in outputs:
    require_file_place(output)
  require_apart(outputs, read)
  if outputs[0].endswith(".html") and storage.is_file(outputs[0]):
    return  # all three are those of an earlier report
  for output in outputs:
    for folder in read:
      if is_inside(output, folder) and storage.is_file(output):
        raise ValueError(
          f"{output} is in {folder}, which is read, and would be overwritten; name the page"
          " otherwise"
        )
