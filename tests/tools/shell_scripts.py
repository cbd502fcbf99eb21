"""Shell scripts of the repository as a person runs them, with settings of the test alone."""

import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).parents[2]
SETTINGS = tuple(re.findall(r"^export (\w+)=", (ROOT / "env_vars.sh").read_text(), re.MULTILINE))


def run(
  script: str, *arguments: str, cwd: pathlib.Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
  """Runs a script with these settings and no others."""
  mine = {name: value for name, value in os.environ.items() if name not in SETTINGS}
  return subprocess.run(
    [ROOT / script, *arguments],
    cwd=cwd,
    env={**mine, "LC_ALL": "C.UTF-8", **environment},
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )
