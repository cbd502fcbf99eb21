import pytest

from maxtext_ext.input.filters import Filters


def record(seconds, text):
  return {"sample_id": "clip7", "seconds": float(seconds), "text": text}


LIMITS = {
  "min_seconds": (1.0, (0.99, "x"), (1.0, "x")),
  "max_seconds": (2.0, (2.01, "x"), (2.0, "x")),
  "min_characters": (3, (1, "  ab "), (1, "  abc ")),
  "max_characters": (3, (1, "abcd"), (1, "abc\n")),
  "min_characters_per_second": (2.0, (2, "abc"), (2, "abcd")),
  "max_characters_per_second": (2.0, (2, "abcde"), (2, "abcd")),
}


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_leaves_out_what_is_beyond_it(name):
  limit, beyond, at_it = LIMITS[name]
  filters = Filters(**{name: limit})
  dropped = filters.reject(**record(*beyond))
  assert (dropped.reason, dropped.bad) == (f"outside {name}", False)
  assert dropped.detail.startswith("clip7: ") and dropped.detail.endswith(f"{name}={limit:g}")
  assert filters.reject(**record(*at_it)) is None
  assert Filters().reject(**record(*beyond)) is None, "off by default"


def test_length_alone_is_limited_by_default():
  assert Filters().reject(**record(30.1, "x")).reason == "outside max_seconds"
  assert Filters().reject(**record(0.0, "x" * 10_000)) is None


def test_a_clip_without_samples_has_no_rate():
  filters = Filters(max_characters_per_second=100.0)
  assert filters.reject(**record(0, "x")).reason == "outside max_characters_per_second"


@pytest.mark.parametrize(
  ("limits", "message"),
  [
    ({"max_seconds": 0.0}, r"max_seconds\n.*greater than 0"),
    ({"min_seconds": 6.0, "max_seconds": 5.0}, "min_seconds=6 and max_seconds=5"),
    ({"min_characters": -1}, r"min_characters\n.*greater than or equal to 0"),
    ({"min_characters": 5, "max_characters": 5}, "min_characters < max_characters"),
    (
      {"min_characters_per_second": 9.0, "max_characters_per_second": 8.0},
      "min_characters_per_second=9",
    ),
  ],
)
def test_limits_are_checked(limits, message):
  with pytest.raises(ValueError, match=message):
    Filters(**limits)
