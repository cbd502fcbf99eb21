"""`python3 -m MaxText.train CONFIG.yml key=value ...`"""

import sys

from maxtext_ext.compat.dispatch import train

if __name__ == "__main__":
  train(sys.argv)
