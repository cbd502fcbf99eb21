"""Programs of a machine that a test puts on PATH."""

import pathlib


def add_program(folder: pathlib.Path, name: str, text: str) -> None:
  """Puts a shell script on the PATH that begins with the folder."""
  path = folder / name
  path.write_text(f"#!/bin/sh\n{text}\n")
  path.chmod(0o755)
