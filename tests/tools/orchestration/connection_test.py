"""The stream of a connection: output and events are separated, wherever it is cut."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st
from orchestration.connection import Message, events_in, split_events

MARK = b"\x1e0123"
OUTPUT = st.binary(max_size=40).filter(lambda data: MARK not in data and not data.endswith(b"\x1e"))
EVENTS = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=2)


@given(parts=st.lists(OUTPUT | EVENTS, max_size=8), cuts=st.lists(st.integers(0, 400), max_size=12))
def test_output_and_events_come_back_in_their_order(parts: list, cuts: list[int]):
  stream = b"".join(
    part if isinstance(part, bytes) else MARK + json.dumps(part).encode() + b"\n" for part in parts
  )
  ends = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
  pieces = [stream[start:end] for start, end in itertools.pairwise(ends)]
  back: list = []
  for message in split_events(iter(pieces), MARK):
    if message.event is None and back and isinstance(back[-1], bytes):
      back[-1] += message.output
    else:
      back.append(message.output if message.event is None else message.event)
  expected: list = []
  for part in parts:
    if isinstance(part, bytes) and expected and isinstance(expected[-1], bytes):
      expected[-1] += part
    elif part or isinstance(part, dict):
      expected.append(part)
  assert back == expected


def test_what_could_be_the_beginning_of_an_event_comes_at_the_end():
  messages = list(split_events(iter([b"50\x1e01"]), MARK))
  assert messages == [Message(output=b"50"), Message(output=b"\x1e01")]


def test_output_is_not_held_back():
  """A prompt without a line end is seen at once."""
  pieces = iter([b"working", b"..."])
  assert next(split_events(pieces, MARK)) == Message(output=b"working")


def test_events_are_found_in_a_whole_output():
  assert events_in('x\x1eab{"stopped": 3}\ny', "ab") == [{"stopped": 3}]


def test_what_travels_to_a_worker_is_the_agent_without_its_docstrings():
  """Written anew from its syntax tree it would be as new as the Python here."""
  import orchestration.connection as connection

  sent = connection._agent_source().decode()
  kept = [line for line in sent.splitlines() if line.strip() not in ("pass", "")]
  assert set(kept) <= set(connection._AGENT.read_text().splitlines())
  assert '"""' not in sent
  compile(sent, "agent", "exec")
