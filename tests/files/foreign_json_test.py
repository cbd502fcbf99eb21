"""JSON from elsewhere: what is no JSON, too large or too deep is refused in one line, cheaply."""

import json
import tracemalloc
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.files import foreign_json
from maxtext_ext.files.foreign_json import Limits, Schema

SMALL = Limits(nbytes=10_000, depth=4, values=100)

REFUSED = {
  "empty": (b"", "is not JSON: Expecting value at line 1, column 1"),
  "cut short": (b'{"a": [1, 2', "is not JSON: .* at line 1, column 12"),
  "more behind it": (b"{} {}", "is not JSON: Extra data"),
  "no UTF-8": (b'{"a": "\xff"}', "not UTF-8"),
  "half a surrogate pair": (rb'{"a": "\ud800"}', "not UTF-8"),
  "NaN": (b'{"a": NaN}', "'NaN' is no finite number"),
  "infinite": (b'{"a": -Infinity}', "'-Infinity' is no finite number"),
  "a float without end": (b'{"a": 1e999}', "'1e999' is no finite number"),
  "digits without end": (b'{"a": ' + b"1" * 5000 + b"}", "5000 digits, expected 300"),
  "a key twice": (b'{"a": 1, "b": {"c\\n": 1, "c\\n": 2}}', r"the key 'c\\n' is there twice"),
  "deep": (b'{"a": [[[[1]]]]}', "5 lists or objects inside each other, expected at most 4"),
  "deep and cut short": (b"[" * 80, "80 lists or objects inside each other"),
  "many": (b"[" + b"1," * 100 + b"1]", "102 values, expected at most 100"),
  "many strings": (b'""' * 1000, "over 100 values"),
  "large": (b" " * 10_001, "10001 bytes, expected at most 10000"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_damaged_text_is_refused_in_one_line_that_names_the_file(case):
  data, message = REFUSED[case]
  with pytest.raises(ValueError, match=message) as caught:
    foreign_json.parse(data, "dir/x.json", SMALL)
  assert str(caught.value).startswith("dir/x.json")
  assert len(str(caught.value).splitlines()) == 1


def test_brackets_and_quotes_inside_of_strings_count_as_text():
  value = {"a": "[" * 1000 + '"' + "]" * 9, "b\\": ["\\", '\\"[', "{"]}
  assert foreign_json.parse(json.dumps(value).encode(), "x", SMALL) == value


def test_a_byte_order_mark_and_whole_surrogate_pairs_are_read():
  assert foreign_json.parse(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00"}', "x") == {"a": "😀"}


@given(
  st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
  )
)
def test_what_is_json_is_read_as_python_reads_it(value):
  assert foreign_json.parse(json.dumps(value).encode(), "x") == value


def test_deep_text_costs_no_more_memory_than_it_has_bytes():
  data = b"[" * 5_000_000
  tracemalloc.start()
  with pytest.raises(ValueError, match="over 1000000 values"):
    foreign_json.parse(data, "x")
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 20 * len(data)  # objects would take 60 bytes a bracket, and the stack


def test_a_file_that_is_missing_too_large_or_a_folder_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r"x\.json is not there"):
    foreign_json.read(tmp_path / "x.json")
  with pytest.raises(ValueError, match="is a folder, expected a file"):
    foreign_json.read(tmp_path)
  (tmp_path / "y.json").write_text("[1, 2]")
  with pytest.raises(ValueError, match=r"y\.json: 6 bytes, expected at most 5"):
    foreign_json.read(tmp_path / "y.json", Limits(nbytes=5))
  with pytest.raises(ValueError, match=r"y\.json: got a list, expected an object"):
    foreign_json.read_object(tmp_path / "y.json")


class Part(Schema):
  size: int
  kind: Literal["a"] = "a"
  flag: foreign_json.Off = False
  rate: float = 0.5


WRONG = {
  "missing": ({}, "part.size: missing"),
  "unknown": ({"size": 1, "other": 2}, "part.other: got 2, and this key is not known"),
  "text for a number": ({"size": "2"}, "part.size: got '2', expected a valid integer"),
  "truth for a number": ({"size": True}, "part.size: got True, expected a valid integer"),
  "float for a whole number": ({"size": 2.0}, "part.size: got 2.0, expected a valid integer"),
  "a number for false": ({"size": 1, "flag": 0}, "part.flag: got 0, expected a valid boolean"),
  "another choice": ({"size": 1, "kind": "b"}, "part.kind: got 'b', expected 'a'"),
  "long": ({"size": "x" * 500}, r"part.size: got 'x{56}\.\.\., expected"),
  "control characters": ({"size": 1, "\x1b[2J\n": 1}, r"part\.\\x1b\[2J\\n: got 1"),
  "a list": ([], r"part: got \[\], expected a valid dictionary"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_value_of_another_kind_is_refused_by_its_key(case):
  value, message = WRONG[case]
  with pytest.raises(ValueError, match=f"^x.json: {message}") as caught:
    foreign_json.check(Part, value, "x.json", "part")
  assert str(caught.value).isprintable()


def test_several_faults_are_told_at_once_and_the_rest_counted():
  with pytest.raises(ValueError, match=r"^x: a: .*; b: .*; c: .*; and 2 more$"):
    foreign_json.check(dict[str, int], dict.fromkeys("abcde", "1"), "x")


def test_whole_numbers_are_floats_too():
  assert foreign_json.check(Part, {"size": 1, "rate": 2}, "x").rate == 2.0
