"""Reading ahead: in order, by several threads, and never more than there is room for."""

import threading
from collections.abc import Iterator

import pytest

from maxtext_ext.decode import read_ahead as module
from maxtext_ext.decode.read_ahead import read_ahead


def iter_of(count: int, item: int) -> Iterator[int]:
  yield from [item] * count


def test_all_are_read_in_order():
  read = read_ahead(range(2_000), lambda item: iter_of(item % 3, item), 4, lambda part: 1.0)
  assert list(read) == [(item, item) for item in range(2_000) for _ in range(item % 3)]
  assert list(read_ahead([], iter_of, 4, lambda part: 1.0)) == []


@pytest.mark.parametrize("parts", [1, 100])
@pytest.mark.parametrize("seconds", [1.0, 10.0, 1_000.0])
def test_memory_is_bounded(monkeypatch, seconds, parts):
  monkeypatch.setattr(module, "MOST_SECONDS", 50.0)
  lock, read, used, most = threading.Lock(), [0], [0], [0]

  def load(item: int) -> Iterator[int]:
    for _ in range(parts):
      with lock:
        read[0] += 1
        most[0] = max(most[0], read[0] - used[0])
      yield item

  for item, result in read_ahead(range(300 // parts), load, 4, lambda result: seconds):
    assert item == result
    with lock:
      used[0] += 1
  assert read[0] == 300
  # What the threads have begun comes on top of the room, and the one that is used next.
  room = 50 / seconds * (1.5 if parts > 1 else 1)
  assert most[0] <= room + 1 + 4 + 1


def test_items_are_asked_for_when_they_are_due():
  asked = []

  def items() -> Iterator[int]:
    for item in range(2_000):
      asked.append(item)
      yield item

  reading = read_ahead(items(), lambda item: iter_of(1, item), 2, lambda part: 0.0)
  next(reading)
  assert len(asked) == module.MOST_CLIPS
  reading.close()


def test_an_error_comes_in_its_turn_and_frees_the_threads(monkeypatch):
  monkeypatch.setattr(module, "MOST_SECONDS", 3.0)
  before = threading.active_count()

  def load(item: int) -> Iterator[int]:
    yield item
    if item == 4:
      raise OSError("gone")

  reading = read_ahead(range(100), load, 4, lambda result: 1.0)
  assert [next(reading)[0] for _ in range(5)] == [0, 1, 2, 3, 4]
  with pytest.raises(OSError, match="gone"):
    next(reading)
  for thread in threading.enumerate()[before:]:
    thread.join(60)
  assert threading.active_count() <= before
