"""`python3 -m MaxText.decode CONFIG.yml key=value ...`, and its `main(argv)`."""

import sys

from maxtext_ext.compat.dispatch import decode as main
from maxtext_ext.errors import exit_with_one_line

__all__ = ["main"]

if __name__ == "__main__":
  exit_with_one_line(main)(sys.argv)
