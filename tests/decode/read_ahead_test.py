"""Reading ahead: in order, by several threads, and never more than there is room for."""

import threading
from collections.abc import Iterator

import pytest

from maxtext_ext.decode import read_ahead as module
from maxtext_ext.decode.read_ahead import read_ahead


def test_all_are_read_in_order():
  read = read_ahead(range(2_000), lambda item: item * item, 4, lambda result: 1.0)
  assert list(read) == [(item, item * item) for item in range(2_000)]
  assert list(read_ahead([], str, 4, lambda result: 1.0)) == []


@pytest.mark.parametrize("seconds", [1.0, 10.0, 1_000.0])
def test_memory_is_bounded(monkeypatch, seconds):
  monkeypatch.setattr(module, "MOST_SECONDS", 50.0)
  lock, read, used, most = threading.Lock(), [0], [0], [0]

  def load(item: int) -> int:
    with lock:
      read[0] += 1
      most[0] = max(most[0], read[0] - used[0])
    return item

  for item, result in read_ahead(range(300), load, 4, lambda result: seconds):
    assert item == result
    with lock:
      used[0] += 1
  assert read[0] == 300
  # What the threads have begun comes on top of the room, and the one that is used next.
  assert most[0] <= 50 / seconds + 1 + 4 + 1


def test_items_are_asked_for_when_they_are_due():
  asked = []

  def items() -> Iterator[int]:
    for item in range(2_000):
      asked.append(item)
      yield item

  reading = read_ahead(items(), lambda item: item, 2, lambda result: 0.0)
  next(reading)
  assert len(asked) == module.MOST_CLIPS
  reading.close()


def test_an_error_comes_in_its_turn_and_frees_the_threads(monkeypatch):
  monkeypatch.setattr(module, "MOST_SECONDS", 3.0)
  before = threading.active_count()

  def load(item: int) -> int:
    if item == 5:
      raise OSError("gone")
    return item

  reading = read_ahead(range(100), load, 4, lambda result: 1.0)
  assert [next(reading)[0] for _ in range(5)] == [0, 1, 2, 3, 4]
  with pytest.raises(OSError, match="gone"):
    next(reading)
  for thread in threading.enumerate()[before:]:
    thread.join(60)
  assert threading.active_count() <= before
