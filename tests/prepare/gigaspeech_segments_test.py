import io
import json

import pytest

from maxtext_ext.prepare import gigaspeech_segments
from maxtext_ext.prepare.gigaspeech_segments import read_recordings, write_manifest


def segment(sid, *subsets, text="HELLO <PERIOD>", begin=1.5, end=3.25):
  return {
    "sid": sid,
    "speaker": "N/A",
    "begin_time": begin,
    "end_time": end,
    "text_tn": text,
    "subsets": [f"{{{name}}}" for name in subsets],
  }


def recording(aid, *segments):
  return {"title": 'x "audios": [', "path": f"audio/podcast/{aid}.opus", "segments": [*segments]}


def document(*audios):
  return {"dataset": "GigaSpeech", "version": "v1.0.0", "audios": [*audios]}


def write(folder, content):
  path = folder / "GigaSpeech.json"
  text = content if isinstance(content, str) else json.dumps(content, indent=1, ensure_ascii=False)
  path.write_text(text, encoding="utf-8")
  return str(path)


def test_the_manifest_of_a_subset(tmp_path):
  source = write(
    tmp_path,
    document(
      recording("POD1", segment("a", "XL", "L"), segment("b", "XL", text="É")),
      recording("POD2"),
      recording("POD3", segment("c", "L", "XL"), segment("d", "DEV")),
    ),
  )
  manifest = tmp_path / "out" / "l.jsonl"
  write_manifest(source, str(manifest), "L")
  lines = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
  assert lines == [
    {
      "id": name,
      "text": "HELLO <PERIOD>",
      "speaker": "N/A",
      "audio": f"{tmp_path}/audio/podcast/{aid}.opus",
      "offset": 1.5,
      "duration": 1.75,
    }
    for name, aid in (("a", "POD1"), ("c", "POD3"))
  ]


def test_a_segment_without_its_fields_keeps_its_line(tmp_path):
  source = write(tmp_path, document(recording("P", {"sid": "a", "subsets": ["{XS}"]})))
  write_manifest(source, str(tmp_path / "m.jsonl"), "XS")
  line = json.loads((tmp_path / "m.jsonl").read_text("utf-8"))
  assert line["id"] == "a" and line["text"] is None and "offset" not in line


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_recordings_are_read_in_blocks_of_any_size(monkeypatch, indent, block):
  monkeypatch.setattr(gigaspeech_segments, "_BLOCK", block)
  audios = [recording(f"é{n}", *(segment(f"{n}-{k}", "XL") for k in range(n))) for n in range(4)]
  data = json.dumps(document(*audios), indent=indent, ensure_ascii=False).encode()
  assert list(read_recordings(io.BytesIO(data), "x")) == audios


@pytest.mark.parametrize(
  ("content", "said"),
  [
    ("", "no list 'audios'"),
    ('{"dataset": "x"}', "no list 'audios'"),
    ('{"audios": [', "cut or damaged"),
    ('{"audios": [{"path": "a", "segments": [{"sid"', "cut or damaged"),
    ('{"audios": [{"path": "a"} ', "cut or damaged"),
    ('{"audios": [3]}', "'audios' has 3"),
    ('{"audios": [{"segments": 3}]}', "expected a recording and 'segments'"),
    ('{"audios": []}', "no segment is in the subset {XL}"),
  ],
)
def test_what_is_no_metadata(tmp_path, content, said):
  with pytest.raises(ValueError, match=said.replace("{", r"\{")):
    write_manifest(write(tmp_path, content), str(tmp_path / "m.jsonl"), "XL")
  assert not (tmp_path / "m.jsonl").exists()
