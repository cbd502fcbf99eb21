"""A parquet child with a fault: it fails instead of sending row FAULT_ROW of row group FAULT_GROUP.

FAULT names a function of FAULTS. With FAULT_ONCE, the path of a file that is not there yet, only
the first child fails.
"""

import importlib.util
import os
import pathlib
import signal
import sys
import time

import pyarrow as pa

PATH = pathlib.Path(__file__).parents[2] / "maxtext_ext" / "sources" / "parquet_child.py"
_SPEC = importlib.util.spec_from_file_location("parquet_child", PATH)
child = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(child)


def kill(_connection) -> None:
  os.kill(os.getpid(), signal.SIGKILL)


def abort(_connection) -> None:
  os.abort()


def leave(_connection) -> None:
  os._exit(7)


def spin(_connection) -> None:
  while True:
    pass


def sleep(_connection) -> None:
  time.sleep(600)


def flood(connection) -> None:
  connection.sendall(child._HEAD.pack(child.ROW, 1 << 60))


def junk(connection) -> None:
  child.send(connection, child.ROW, b"junk")


def exhaust(_connection) -> None:
  bytearray(1 << 50)


FAULTS = {
  fault.__name__: fault for fault in (kill, abort, leave, spin, sleep, flood, junk, exhaust)
}


class Faulty(child._Child):
  """The child of the package but for its fault."""

  def _send_rows(self, group: int, begin: int, **others) -> None:
    self.place = (group, begin)
    super()._send_rows(group=group, begin=begin, **others)

  def _send_row(self, row: pa.RecordBatch) -> None:
    if self.place == (int(os.environ["FAULT_GROUP"]), int(os.environ["FAULT_ROW"])):
      once = os.environ.get("FAULT_ONCE")
      if not once or not os.path.exists(once):
        if once:
          pathlib.Path(once).touch()
        FAULTS[os.environ["FAULT"]](self._connection)
    super()._send_row(row)
    self.place = (self.place[0], self.place[1] + 1)


if __name__ == "__main__":
  child.SECONDS = 0  # and what is left of the second in which it begins
  child._Child = Faulty
  child.main(int(sys.argv[1]))
