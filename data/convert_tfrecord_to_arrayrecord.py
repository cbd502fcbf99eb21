"""Converts TFRecord shards to ArrayRecord: `maxtext-ext data convert --from tfrecord`.

python data/convert_tfrecord_to_arrayrecord.py gs://bucket/tf/train gs://bucket/data --workers 8
"""

import sys

from maxtext_ext.cli import main

if __name__ == "__main__":
  main(["data", "convert", "--from", "tfrecord", *(sys.argv[1:] or ["--help"])])
