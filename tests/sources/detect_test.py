"""The format of a source, told by its files."""

import gzip
import json
import pathlib

import fsspec
import pytest

from maxtext_ext.sources import formats
from maxtext_ext.sources.detect import detect_format
from maxtext_ext.sources.tfrecord import write_tfrecord
from tests.conversion.small_shards import encoded
from tests.sources.lhotse_test import cut, recording, supervision
from tests.sources.tfds_test import PCM, example

LINE = b'{"audio": "a.wav", "text": "x"}\n'
CUT = json.dumps(cut("c", 0, 1, recording("r", "a.wav", 1.0), supervision("s", "r", 0, 1, "x")))
TARRED = b'{"audio_filepath": "a.wav", "text": "x", "shard_id": 0}\n'

# What is in a source, and its format; "" stands for the folder, any other name for that file.
CASES = [
  ({"train.jsonl": LINE}, "", "jsonl"),
  ({"train.jsonl.gz": gzip.compress(LINE)}, "train.jsonl.gz", "jsonl"),
  ({"manifest.json": LINE}, "manifest.json", "jsonl"),
  ({"list.txt": LINE}, "list.txt", "jsonl"),
  ({"train.tsv": b"client_id\tpath\tsentence\n", "clips/a.mp3": b""}, "", "csv"),
  ({"a.csv": b"audio,text\n"}, "a.csv", "csv"),
  ({"metadata.csv": b"file_name,text\n", "a.wav": b""}, "", "audiofolder"),
  ({"train/metadata.jsonl": b"{}", "test/metadata.jsonl": b"{}"}, "", "audiofolder"),
  ({"a.parquet": b"", "b.parquet": b""}, "", "parquet"),
  ({"data/train-00000-of-00001.parquet": b"", "README.md": b"---\n---"}, "", "huggingface"),
  (
    {"state.json": b"{}", "dataset_info.json": b"{}", "data-00000-of-00001.arrow": b""},
    "",
    "arrow",
  ),
  ({"dataset_dict.json": b"{}", "train/state.json": b"{}"}, "", "arrow"),
  ({"x-train.arrow": b""}, "x-train.arrow", "arrow"),
  ({"wav.scp": b"", "text": b"", "segments": b""}, "", "kaldi"),
  ({"train/wav.scp": b"", "train/text": b"", "test/wav.scp": b""}, "", "kaldi"),
  ({"cuts_train.jsonl.gz": gzip.compress(CUT.encode())}, "", "lhotse"),
  ({"any.jsonl": CUT.encode()}, "any.jsonl", "lhotse"),
  ({"x_recordings_a.jsonl.gz": b"", "x_supervisions_a.jsonl.gz": b""}, "", "lhotse"),
  ({"cuts.000000.jsonl.gz": b"", "recording.000000.tar": b""}, "", "shar"),
  ({"tarred_audio_manifest.json": TARRED, "audio_0.tar": b""}, "", "nemo"),
  (
    {"tarred_audio_manifest.json": TARRED, "audio_0.tar": b""},
    "tarred_audio_manifest.json",
    "nemo",
  ),
  ({"a-000.tar": b"", "a-001.tar.gz": b""}, "", "tar"),
  ({"a.tgz": b""}, "a.tgz", "tar"),
  ({"dev-clean.tar.gz": b"", "train-other-500.tar.gz": b""}, "", "librispeech"),
  ({"data/audio/xs_files/xs_chunks_0000.tar.gz": b"", "gigaspeech.py": b""}, "", "gigaspeech"),
]


def write(folder: pathlib.Path, files: dict[str, bytes]) -> None:
  for name, content in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize(("files", "source", "expected"), CASES)
def test_formats(tmp_path, files, source, expected):
  write(tmp_path, files)
  assert detect_format(str(tmp_path / source)) == expected


def test_every_format_is_told_from_the_others():
  found = {expected for _, _, expected in CASES}
  assert found | {"tfrecord", "tfds"} == set(formats.SOURCES)


def test_the_two_kinds_of_tfrecord_files(tmp_path):
  write_tfrecord(str(tmp_path / "a.tfrecord"), [encoded("a")])
  assert detect_format(str(tmp_path)) == "tfrecord"
  write_tfrecord(str(tmp_path / "a.tfrecord"), [example(speech=PCM, text="x")])
  assert detect_format(str(tmp_path)) == "tfds"
  (tmp_path / "features.json").write_text("{}")
  assert detect_format(str(tmp_path)) == "tfds"
  (tmp_path / "a.tfrecord").write_bytes(b"junk")
  assert detect_format(str(tmp_path / "a.tfrecord")) == "tfrecord"


def test_what_is_not_on_this_machine(tmp_path):
  assert detect_format("google/fleurs:ar_eg#test") == "huggingface"
  assert detect_format("hf://datasets/google/fleurs") == "huggingface"
  write(tmp_path, {"train/0.parquet": b""})
  assert detect_format(f"{tmp_path}#test") == "huggingface"
  fsspec.filesystem("memory").pipe("/detect/train.jsonl", LINE)
  assert detect_format("memory://detect") == "jsonl"
  assert detect_format("memory://detect/*.jsonl") == "jsonl"


@pytest.mark.parametrize(
  ("files", "reason"),
  [
    (
      {"a.csv": b"audio,text\n", "b.jsonl": LINE},
      r"\(a.csv, b.jsonl\) looks like csv and jsonl; say which: --from csv or --from jsonl",
    ),
    (
      {"a.wav": b"", "b.FLAC": b""},
      r"\(a.wav, b.FLAC\): no format is known by such names; sound needs a file that says",
    ),
    ({"he/train.tsv": b"", "ar/train.tsv": b""}, r" \(ar, he\): no format .* the folder below it"),
    (
      {"train-00000-of-00001.array_record": b"", "quarantine.jsonl": LINE},
      "its shards are converted already: training takes their folder as data_dir",
    ),
    ({}, "no format is known"),
    (
      {"wav.scp": b"", "metadata.csv": b""},
      r"looks like kaldi and audiofolder; say which: --from kaldi or --from audiofolder",
    ),
  ],
)
def test_what_cannot_be_told(tmp_path, files, reason):
  write(tmp_path, files)
  with pytest.raises(ValueError, match=reason) as caught:
    detect_format(str(tmp_path))
  assert len(str(caught.value).splitlines()) == 1


def test_what_is_not_there(tmp_path):
  with pytest.raises(ValueError, match="no input found"):
    detect_format(str(tmp_path / "nowhere"))
