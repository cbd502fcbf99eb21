"""The page holds what it should, stands alone, and shows hostile text as text."""

import base64
import io
import re

import numpy as np
import pytest
import soundfile

from maxtext_ext.corpus import examples
from maxtext_ext.corpus import page as page_module
from maxtext_ext.corpus.issues import find
from maxtext_ext.corpus.page import write_page
from maxtext_ext.corpus.statistics import Surveyor, merge
from maxtext_ext.records.quarantine import Reason
from maxtext_ext.records.schema import Record
from tests.page import Page

HOSTILE = "<script>alert('1')</script>\"' onerror=\"x"
PLAYER = "data:audio/flac;base64,"


def record(name: str, text: str, language: str | None = "English", **fields) -> Record:
  seed = sum(name.encode(errors="replace"))
  audio = np.random.default_rng(seed).normal(0, 0.1, fields.pop("samples", 16_000))
  return Record(
    sample_id=name, audio=audio.astype(np.float32), text=text, language=language, **fields
  )


RECORDS = [
  record("en", "hello, is this the first of them?", dataset_name="d1", speaker="s1"),
  record("he", "שלום לכולם, מה שלומכם?", "Hebrew", dataset_name="d1", speaker="s2"),
  record("ar", "صباح الخير يا أصدقاء", "Arabic", dataset_name="d2"),
]


def write(tmp_path, records=RECORDS, **options) -> Page:
  surveyor = Surveyor(0, "train")
  for position, item in enumerate(records):
    surveyor.add(item, position)
  surveyor.reject("train-00000-of-00001.array_record, record 9", f"broken {HOSTILE}")
  survey = merge([surveyor.survey()])
  path = tmp_path / "inspect.html"
  title = options.pop("title", "data")
  write_page(
    str(path), title, survey, find(survey), lambda rows: [records[i] for i in rows], **options
  )
  return Page(path.read_text(encoding="utf-8"))


def players(page: Page) -> list[str]:
  return [attributes["src"] for tag, attributes in page.elements if tag == "audio"]


def test_page_shows_the_figures(tmp_path):
  page = write(tmp_path)
  tiles = page.inside("tile")
  assert {"3.0 s", "3 records", "1.00 s", "2", "1"} <= set(tiles)
  table = page.inside("tbody")
  hebrew = table.index("Hebrew")
  assert table[hebrew - 1 : hebrew + 9] == [
    *("d1", "Hebrew", "1", "1.0 s", "1.00 s", "1.00 s", "1.00 s", "22", "4", "22.0"),
  ]
  assert [head for head in page.inside("h2") if head != "Worth a look"] == [
    *("What is there", "Hours", "Length", "Characters a second", "Loudness", "Peak"),
    *("Characters", "A sample", "How it was measured"),
  ]
  assert len([attributes for tag, attributes in page.elements if tag == "rect"]) > 4


def test_players_hold_the_sound(tmp_path):
  page = write(tmp_path)
  found = players(page)
  assert len(found) == 3
  for source, item in zip(found, RECORDS, strict=True):
    assert source.startswith(PLAYER)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(source.removeprefix(PLAYER))))
    assert rate == 16_000
    np.testing.assert_allclose(samples, item.audio, atol=0.5 / 32_768)
  named = [attributes["aria-label"] for tag, attributes in page.elements if tag == "audio"]
  assert named == ["en", "he", "ar"]


def test_what_is_worth_a_look_is_explained_and_played(tmp_path):
  page = write(tmp_path, [*RECORDS, record("short", "naïve\ufffd", samples=1_000)])
  summaries = page.inside("case", "summary")
  assert summaries == ["1", "Very short", "1", "Broken characters"]
  assert page.inside("case", "meta", "bad")[0] == "0.06 s"
  assert "U+FFFD" in page.inside("case", "text", "code")
  assert len(players(page)) == 4 + 2


def test_page_stands_alone(tmp_path):
  page = write(tmp_path)
  tags = {tag for tag, _ in page.elements}
  assert not tags & {"script", "link", "img", "iframe", "object", "base", "form", "a", "source"}
  attributes = {name for _, attributes in page.elements for name in attributes}
  assert not attributes & {"href", "srcset", "action", "style"}
  sources = [attributes["src"] for _, attributes in page.elements if "src" in attributes]
  assert all(source.startswith(PLAYER) for source in sources)
  text = (tmp_path / "inspect.html").read_text(encoding="utf-8")
  assert not re.search(r"https?:|url\(|@import", text)
  (policy,) = [a["content"] for tag, a in page.elements if "http-equiv" in a]
  assert policy == "default-src 'none'; style-src 'unsafe-inline'; media-src data:"
  assert "prefers-color-scheme: dark" in text


def test_everything_is_escaped(tmp_path):
  plain = write(tmp_path, [*RECORDS, record("odd", "1 €")])
  hostile = record(HOSTILE, HOSTILE, HOSTILE, dataset_name=HOSTILE, speaker=HOSTILE)
  page = write(
    tmp_path,
    [hostile, record("bidi\u202e", "a\0b\x1b[31m", "x\u202e")],
    title=HOSTILE,
    reasons=[Reason(split=HOSTILE, count=3, example=HOSTILE)],
  )
  tags = {tag for tag, _ in page.elements}
  assert "script" not in tags
  assert tags <= {tag for tag, _ in plain.elements} | {"code", "mark", "details", "summary"}
  assert {n for _, a in page.elements for n in a} <= {n for _, a in plain.elements for n in a} | {
    "open"
  }
  for place in (("h1",), ("title",), ("meta", "b"), ("tbody",), ("wrap",), ("meta",)):
    assert any(HOSTILE in text for text in page.inside(*place)), place
  assert HOSTILE in "".join(page.inside("article", "text"))
  written = (tmp_path / "inspect.html").read_text(encoding="utf-8")
  assert not set(written) & {"\0", "\x1b", "\u202e"}
  assert "bidi\\u202e" in written


def test_texts_run_in_their_own_direction(tmp_path):
  page = write(tmp_path)
  texts = [attributes for _, attributes in page.elements if attributes.get("class") == "text"]
  assert [attributes["dir"] for attributes in texts] == ["auto"] * 3
  letters = [attributes for _, attributes in page.elements if attributes.get("class") == "letters"]
  assert [attributes["dir"] for attributes in letters] == ["rtl", "ltr", "rtl"]


def test_letters_of_a_script_that_is_not_at_home_are_marked(tmp_path):
  text = "שלום לכולם " * 200 + "WhatsApp"
  page = write(tmp_path, [record("he", text, "Hebrew")])
  assert set(page.inside("letters", "mark")) == set("WhatsApp")


def test_quarantine_is_summed_up(tmp_path):
  reasons = [Reason(split="train", count=n, example=f"in.jsonl:{n}: bad") for n in range(20, 0, -1)]
  page = write(tmp_path, reasons=reasons)
  assert "Quarantine" in page.inside("h2")
  assert "210 in quarantine" in page.inside("tile")
  assert "in.jsonl:20: bad" in page.inside("wrap")
  assert any("8 more reasons" in text for text in page.inside("p"))


def test_a_sample_says_so(tmp_path):
  assert any("A sample" in text for text in write(tmp_path, sample=3).inside("header"))
  assert not any("A sample" in text for text in write(tmp_path).inside("header"))


def test_page_is_bounded(tmp_path, monkeypatch):
  monkeypatch.setattr(examples, "MAX_PLAYER_BYTES", 50_000)
  monkeypatch.setattr(page_module, "_CHARACTERS_SHOWN", 50)
  many = "".join(map(chr, range(0x4E00, 0x5000)))
  clipped = [
    record(f"r{i}", f"{many[10 * i : 10 * i + 10]}", "Chinese", samples=4_000) for i in range(50)
  ]
  page = write(tmp_path, clipped)
  clip_count = len([a for tag, a in page.elements if tag == "article"])
  assert clip_count <= page_module.SAMPLE_CLIPS + page_module.CLIPS_OF_A_FINDING * 3
  assert 0 < sum(len(source) - len(PLAYER) for source in players(page)) <= 50_000
  assert any(text.startswith("no player") for text in page.inside("sound"))
  assert len(page.inside("glyph")) == 50
  assert any("380 more" in text for text in page.inside("letters"))


@pytest.mark.parametrize("count", [1, 12, 40])
def test_the_sample_is_the_same_every_time(tmp_path, count):
  records = [record(f"r{i}", "hello there again my friend", samples=16_000) for i in range(count)]
  first = write(tmp_path, records)
  names = first.inside("article", "meta", "b")
  assert len(names) >= min(count, 12)
  assert write(tmp_path, records).inside("article", "meta", "b") == names
