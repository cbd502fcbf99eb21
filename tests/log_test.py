"""In a process of its own: a test runner has handlers of its own."""

import subprocess
import sys

PROGRAM = r"""
import logging
from maxtext_ext import bridge
from maxtext_ext.errors import exit_with_one_line

@exit_with_one_line
def command():
  bridge.quiet()
  logging.getLogger("maxtext_ext.input.drops").warning("dropped %s", "\x1b[2J")
  logging.getLogger("maxtext_ext.input.drops").info("a detail")
  logging.getLogger("orbax").warning("nothing for the user")

command()
command()
"""

LIBRARY = r"""
import logging
from maxtext_ext import bridge

logging.basicConfig(level=logging.INFO)
bridge.quiet()
logging.getLogger("maxtext_ext.text.languages").warning("language")
logging.getLogger("of.the.program").info("detail")
bridge.absl_logging.error("nothing for the user")
"""


def test_our_warnings_reach_the_user_and_no_others():
  run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
  lines = [line for line in run.stderr.splitlines() if "dropped" in line or "nothing" in line]
  assert lines == [r"warning: dropped \x1b[2J"] * 2


def test_a_program_that_imports_the_package_keeps_its_own_logging():
  run = subprocess.run([sys.executable, "-c", LIBRARY], capture_output=True, text=True, check=True)
  assert "WARNING:maxtext_ext.text.languages:language" in run.stderr
  assert "INFO:of.the.program:detail" in run.stderr
  assert "nothing" not in run.stderr
