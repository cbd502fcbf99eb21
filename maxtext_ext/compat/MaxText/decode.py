"""`python3 -m MaxText.decode CONFIG.yml key=value ...`"""

import sys

from maxtext_ext.compat.dispatch import decode

if __name__ == "__main__":
  decode(sys.argv)
