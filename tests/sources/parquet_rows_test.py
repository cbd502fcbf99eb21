"""Rows of parquet files from a child process, against Arrow's reader, and when the child fails."""

import contextlib
import io
import mmap
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.sources import parquet_child, parquet_reader, parquet_rows
from maxtext_ext.sources.parquet_rows import BrokenFileError, open_parquet
from tests.sources import faulty_child, processes

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LEAVES = ["audio.bytes", "text"]

values = st.none() | st.binary(max_size=12) | st.integers(0, 5_000).map(lambda size: b"ab" * size)
writers = st.fixed_dictionaries(
  {
    "compression": st.sampled_from(["none", "snappy", "zstd", "gzip", "brotli", "lz4"]),
    "use_dictionary": st.booleans(),
    "data_page_version": st.sampled_from(["1.0", "2.0"]),
    "data_page_size": st.sampled_from([1, 100, 1 << 20]),
    "write_batch_size": st.sampled_from([1, 7, 1_024]),
    "row_group_size": st.sampled_from([5, 1_000]),
    "write_statistics": st.booleans(),
  }
)


def write(path: pathlib.Path, rows: list[bytes | None], **options: Any) -> pathlib.Path:
  audio = [None if row is None else {"bytes": row, "path": "x"} for row in rows]
  texts = [f"text {row}" for row in range(len(rows))]
  pq.write_table(pa.table({"audio": pa.array(audio, AUDIO), "text": texts}), path, **options)
  return path


def read(
  path: pathlib.Path, first: int = 0, count: int | None = None, leaves: list[str] = LEAVES
) -> list[dict[str, Any] | str]:
  size = path.stat().st_size
  with path.open("rb") as file, open_parquet(file, size) as parquet:
    return list(parquet.read_rows(leaves, first, parquet.num_rows if count is None else count))


def sounds(rows: list[dict[str, Any] | str]) -> list[bytes | None]:
  return [row["audio.bytes"] for row in rows]


@pytest.fixture(autouse=True)
def own_children() -> Iterator[None]:
  """No test gets a child of another one."""
  parquet_reader.end_idle_readers()
  yield
  parquet_reader.end_idle_readers()


@settings(max_examples=100, deadline=None)
@given(st.lists(values, min_size=1, max_size=40), writers, st.data())
def test_same_as_arrow(tmp_path_factory, rows, options, data):
  path = write(tmp_path_factory.mktemp("rows") / "x.parquet", rows, **options)
  first = data.draw(st.integers(0, len(rows) - 1))
  count = data.draw(st.integers(1, len(rows) - first))
  expected = [
    {"audio.bytes": row, "text": f"text {index}"}
    for index, row in enumerate(rows[first : first + count], first)
  ]
  assert read(path, first, count) == expected


def test_values_that_may_not_be_null(tmp_path):
  path = tmp_path / "x.parquet"
  schema = pa.schema([pa.field("audio", pa.binary(), nullable=False)])
  for version in ("1.0", "2.0"):
    pq.write_table(pa.table({"audio": [b"a", b"bc"]}, schema), path, data_page_version=version)
    assert [row["audio"] for row in read(path, leaves=["audio"])] == [b"a", b"bc"]


def test_dictionaries_are_sent_as_values(tmp_path):
  path = tmp_path / "x.parquet"
  column = pa.array(["a", None, "b", "a"]).dictionary_encode()
  nested = pa.StructArray.from_arrays([column], ["inner"])
  pq.write_table(pa.table({"text": column, "of": nested}), path)
  rows = read(path, leaves=["text", "of.inner"])
  assert [row["text"] for row in rows] == ["a", None, "b", "a"]
  assert [row["of.inner"] for row in rows] == ["a", None, "b", "a"]


def test_names_with_dots_and_metadata_that_is_no_text(tmp_path):
  path = tmp_path / "x.parquet"
  table = pa.table({"audio.bytes": [b"a"], "text": ["x"]})
  pq.write_table(table.replace_schema_metadata({b"\xff": b"\xfe"}), path)
  assert read(path) == [{"audio.bytes": b"a", "text": "x"}]


def test_one_child_reads_all_files(tmp_path):
  for number in range(3):
    path = write(tmp_path / f"{number}.parquet", [b"%d" % number] * 9, row_group_size=4)
    assert sounds(read(path)) == [b"%d" % number] * 9
  (reader,) = parquet_reader._idle
  reader._process.kill()
  reader._process.wait()  # whoever did that
  assert len(read(path)) == 9


def test_a_child_in_the_middle_of_an_answer_is_ended(tmp_path):
  path = write(tmp_path / "x.parquet", [bytes(100_000)] * 9)
  with path.open("rb") as file, open_parquet(file, path.stat().st_size) as parquet:
    rows = parquet.read_rows(LEAVES, 0, 9)
    assert next(rows)
    process = parquet._reader._process
  assert process.returncode is not None
  assert not parquet_reader._idle


def test_two_files_at_once(tmp_path):
  paths = [write(tmp_path / name, [name.encode()] * 9) for name in ("a", "b")]
  with contextlib.ExitStack() as stack:
    rows = []
    for path in paths:
      file = stack.enter_context(path.open("rb"))
      parquet = stack.enter_context(open_parquet(file, path.stat().st_size))
      rows.append(parquet.read_rows(LEAVES, 0, 9))
    assert [(a["audio.bytes"], b["audio.bytes"]) for a, b in zip(*rows, strict=True)] == [
      (b"a", b"b")
    ] * 9


def test_errors_of_the_file_are_raised(tmp_path):
  path = write(tmp_path / "x.parquet", [os.urandom(20_000) for _ in range(9)], row_group_size=1)

  class Failing(io.BytesIO):
    def read(self, size: int = -1, /) -> bytes:
      if self.tell() < 50_000:
        raise OSError(5, "the disk is broken")
      return super().read(size)

  data = path.read_bytes()
  with (
    open_parquet(Failing(data), len(data)) as parquet,
    pytest.raises(OSError, match="the disk is broken"),
  ):
    list(parquet.read_rows(LEAVES, 0, 9))
  # A file that has become shorter meanwhile is damaged.
  with (
    pytest.raises(BrokenFileError, match="not a whole parquet file"),
    open_parquet(io.BytesIO(data[:-100]), len(data)),
  ):
    pass


@pytest.mark.parametrize(
  ("fault", "reason"),
  [
    ("kill", r"cannot be read from row 2 on \(the reader ended by signal 9, perhaps for want of"),
    ("abort", r"cannot be read from row 2 on \(the reader ended by signal 6\)"),
    ("leave", r"cannot be read from row 2 on \(the reader ended with status 7\)"),
    ("spin", r"cannot be read from row 2 on \(the reader gave no answer within 5 s of processor"),
    ("flood", r"cannot be read from row 2 on \(the reader sent a message of 1152921504606846976"),
    ("junk", r"is damaged from row 2 on \(a row that is none"),
    (
      "exhaust",
      r"cannot be read from row 2 on \(out of memory, of which it may use 4 GiB; rewrite .*=100",
    ),
  ],
)
@pytest.mark.parametrize("group", [0, 1])
def test_the_next_row_group_is_read_by_another_child(tmp_path, monkeypatch, fault, reason, group):
  path = write(tmp_path / "x.parquet", [b"%d" % row for row in range(12)], row_group_size=4)
  monkeypatch.setattr(parquet_reader, "_SCRIPT", faulty_child.__file__)
  for name, value in {"FAULT": fault, "FAULT_GROUP": group, "FAULT_ROW": 2}.items():
    monkeypatch.setenv(name, str(value))
  rows = read(path)
  bad = [index for index, row in enumerate(rows) if isinstance(row, str)]
  assert bad == [4 * group + 2, 4 * group + 3]
  assert all(re.match(f"row group {group} {reason}", rows[index]) for index in bad)
  good = [index for index in range(12) if index not in bad]
  assert [rows[index]["audio.bytes"] for index in good] == [b"%d" % index for index in good]


def test_a_child_that_was_killed_once_costs_nothing(tmp_path, monkeypatch):
  path = write(tmp_path / "x.parquet", [b"%d" % row for row in range(12)], row_group_size=4)
  monkeypatch.setattr(parquet_reader, "_SCRIPT", faulty_child.__file__)
  monkeypatch.setenv("FAULT_ONCE", str(tmp_path / "once"))
  for name, value in {"FAULT": "kill", "FAULT_GROUP": 1, "FAULT_ROW": 2}.items():
    monkeypatch.setenv(name, str(value))
  assert sounds(read(path)) == [b"%d" % row for row in range(12)]
  assert (tmp_path / "once").exists()


def test_a_child_that_sleeps_is_ended(tmp_path, monkeypatch):
  path = write(tmp_path / "x.parquet", [b"%d" % row for row in range(6)], row_group_size=3)
  monkeypatch.setattr(parquet_reader, "_SCRIPT", faulty_child.__file__)
  for name, value in {"FAULT": "sleep", "FAULT_GROUP": 0, "FAULT_ROW": 1}.items():
    monkeypatch.setenv(name, str(value))
  reader = parquet_reader.take_reader()
  reader._socket.settimeout(0.5)
  parquet_reader.release_reader(reader)
  rows = read(path)
  assert [isinstance(row, str) for row in rows] == [False, True, True, False, False, False]
  assert "row group 0 cannot be read from row 1 on (the reader gave no answer within" in rows[1]


def test_a_reader_that_cannot_start_is_no_bad_file(tmp_path, monkeypatch):
  path = write(tmp_path / "x.parquet", [b"a"])
  (tmp_path / "script.py").write_text("import no_such_module")
  monkeypatch.setattr(parquet_reader, "_SCRIPT", str(tmp_path / "script.py"))
  with pytest.raises(OSError, match=r"cannot start .*ended with status 1; see what .*import pyarr"):
    read(path)


def zeros(path: pathlib.Path, megabytes: int, **options: Any) -> pathlib.Path:
  """Pages of up to so many megabytes, in a small file."""
  sound = pa.repeat(pa.scalar(bytes(1_000_000)), megabytes)
  audio = pa.StructArray.from_arrays([sound], ["bytes"])
  table = pa.table({"audio": audio, "text": ["x"] * megabytes})
  pq.write_table(table, path, use_dictionary=False, write_batch_size=1_024, **options)
  return path


def test_a_page_beyond_the_memory(tmp_path, monkeypatch):
  path = tmp_path / "x.parquet"
  zeros(path, 405, compression="zstd", row_group_size=400)
  assert path.stat().st_size < 1_000_000
  monkeypatch.setattr(parquet_reader, "_MEMORY", 5 << 27)  # bytes
  rows = read(path)
  assert all("row group 0 cannot be read from row 0 on (out of memory" in row for row in rows[:400])
  assert sounds(rows[400:]) == [bytes(1_000_000)] * 5


@pytest.mark.integration_test
def test_a_large_page_takes_no_memory_of_the_parent(tmp_path):
  zeros(tmp_path / "x.parquet", 400, compression="zstd")
  code = (
    "import pathlib, resource, sys\n"
    "from tests.sources.parquet_rows_test import read\n"
    "path = pathlib.Path(sys.argv[1])\n"
    "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
    "assert len(read(path, 0, 9)) == 9\n"
    "before = peak()\n"
    "from tests.sources import parquet_rows_test as module\n"
    "with path.open('rb') as file, module.open_parquet(file, path.stat().st_size) as parquet:\n"
    "  for row in parquet.read_rows(module.LEAVES, 0, 400):\n"
    "    assert len(row['audio.bytes']) == 1_000_000\n"
    "print(peak() - before)\n"
  )
  command = [sys.executable, "-c", code, tmp_path / "x.parquet"]
  run = subprocess.run(command, check=True, capture_output=True, text=True)
  assert int(run.stdout) < 50_000  # KiB


def test_the_child_has_not_the_address_space_of_its_parent(tmp_path):
  path = write(tmp_path / "x.parquet", [b"a"])
  with mmap.mmap(-1, 2 * parquet_reader._MEMORY):
    assert len(read(path)) == 1


def test_large_row_groups_are_refused_where_memory_is_not_limited(tmp_path, monkeypatch):
  rows = [os.urandom(1_000)] * 4 + [b""] * 4
  path = write(tmp_path / "x.parquet", rows, row_group_size=4, use_dictionary=False)
  monkeypatch.setattr(parquet_reader, "LIMITS_MEMORY", False)
  monkeypatch.setattr(parquet_rows, "_MAX_GROUP", 5_000)
  result = read(path)
  assert all(
    re.search(r"columns have 6\d\d\d bytes, expected at most 5000 .*smaller row groups", row)
    for row in result[:4]
  )
  assert sounds(result[4:]) == [b""] * 4
  monkeypatch.setattr(parquet_rows, "_MAX_GROUP", 7_000)
  assert sounds(read(path)) == rows


def test_a_large_row_is_left_out(tmp_path):
  large = np.zeros(parquet_child.MAX_ROW + 1, np.uint8).tobytes()
  path = write(tmp_path / "x.parquet", [b"a", large, b"b"], compression="zstd")
  first, bad, last = read(path)
  assert sounds([first, last]) == [b"a", b"b"]
  assert re.match(r"row 1 of row group 0 has 1342177\d\d bytes, expected at most 134217728", bad)


def test_no_child_outlives_its_parent(tmp_path):
  write(tmp_path / "x.parquet", [b"a"])
  code = (
    "import os, pathlib, sys\n"
    "from tests.sources.parquet_rows_test import parquet_reader, read\n"
    "read(pathlib.Path(sys.argv[1]))\n"
    "print(parquet_reader._idle[0]._process.pid, flush=True)\n"
    "os.kill(os.getpid(), 9)\n"
  )
  run = subprocess.run(
    [sys.executable, "-c", code, tmp_path / "x.parquet"], capture_output=True, text=True
  )
  processes.wait_until_gone(int(run.stdout))
