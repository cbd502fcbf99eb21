"""Export to JSON lines and 16 kHz WAV files, the format of Qwen3-ASR's official fine-tuning.

A line is `{"audio": "/path/clip.wav", "text": "language Hebrew<asr_text>what is said"}`, with
"prompt" where a record has one. Source: qwen3_asr_sft.py of QwenLM/Qwen3-ASR.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator, Sequence

from maxtext_ext.audio.wav import encode_wav
from maxtext_ext.files import checksum, storage
from maxtext_ext.records import reader
from maxtext_ext.records.schema import Record, RecordError, decode_example, pcm16_samples
from maxtext_ext.text.languages import NO_LANGUAGE, language_name

Progress = Callable[[int, int], None]  # shards done, shards in all

_PARTS = ".parts"
_SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSummary:
  """Counts of an export: the records of its shards = lines + left_out.

  Attributes:
    path: the JSONL file.
    lines: their number in it.
    left_out: records that have no 16-bit form, by reason.
    shards: of the records.
    made: shards that this call exported; the others existed.
  """

  path: str
  lines: int
  left_out: dict[str, int]
  shards: int
  made: int


def export(
  data_dirs: Sequence[tuple[str, str]],
  split: str,
  out: str,
  *,
  workers: int = 1,
  progress: Progress | None = None,
) -> ExportSummary:
  """Writes {out}/{split}.jsonl and {out}/wav/{name}/{shard}/{id}.wav.

  Exported shards are not written again unless they have changed. The JSONL file is written last.
  Samples are those of `--audio pcm16`.

  Args:
    data_dirs: (name, folder of ArrayRecord shards) of each data set, in the order of the lines.
    split: split to export.
    out: folder, local or a URL; the lines hold its absolute path.
    workers: processes.
    progress: called after each shard.

  Raises:
    ValueError: a folder has no shards of the split.
  """
  out = out.rstrip("/") if "://" in out else os.path.abspath(out)
  jobs = [
    _Job(shard=shard, out=out, name=name)
    for name, folder in data_dirs
    for shard in reader.find_shards(folder, split)
  ]
  parts = []
  for part in _run(jobs, workers):
    parts.append(part)
    if progress:
      progress(len(parts), len(jobs))
  path = f"{out}/{split}.jsonl"
  content = b"".join(storage.read_bytes(part.path) for part in parts)
  if not storage.is_file(path) or storage.read_bytes(path) != content:
    storage.write_bytes(path, content)
  reasons = [reason for part in parts for reason in part.left_out]
  return ExportSummary(
    path=path,
    lines=content.count(b"\n"),
    left_out={reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
    shards=len(parts),
    made=sum(part.made for part in parts),
  )


def format_line(record: Record, path: str) -> str:
  """Formats the JSON line of a record whose audio is at `path`; ends in a line break."""
  language = language_name(record.language) if record.language else NO_LANGUAGE
  line = {"audio": path, "text": f"language {language}<asr_text>{record.text}"}
  if record.prompt:
    line["prompt"] = record.prompt
  return json.dumps(line, ensure_ascii=False) + "\n"


def wav_name(sample_id: str) -> str:
  """Returns a file name for an id, unique on any file system.

  An id with slashes, capitals or great length is not safe as a name, and gets a hash.
  """
  if _SAFE_NAME.fullmatch(sample_id):
    return f"{sample_id}.wav"
  digest = hashlib.blake2b(sample_id.encode(errors="surrogatepass"), digest_size=8).hexdigest()
  readable = re.sub(r"[^a-z0-9]+", "-", sample_id.lower()).strip("-")[:60]
  return f"{readable}={digest}.wav"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Job:
  shard: str
  out: str
  name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Part:
  path: str  # of its lines
  left_out: tuple[str, ...]  # a reason for each
  made: bool


def _run(jobs: Sequence[_Job], workers: int) -> Iterator[_Part]:
  if workers == 1 or len(jobs) < 2:
    yield from map(_export_shard, jobs)
    return
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(min(workers, len(jobs)), context) as pool:
    yield from pool.map(_export_shard, jobs)


def _export_shard(job: _Job) -> _Part:
  stem = os.path.basename(job.shard).rpartition(".")[0]
  path = f"{job.out}/{_PARTS}/{job.name}/{stem}.jsonl"
  state = f"{job.out}/{_PARTS}/{job.name}/{stem}.json"  # written last
  crc32c = checksum.of_file(job.shard)
  if storage.is_file(path) and storage.is_file(state):
    known = json.loads(storage.read_bytes(state))
    if known["crc32c"] == crc32c:
      return _Part(path=path, left_out=tuple(known["left_out"]), made=False)
  lines, left_out = [], []
  source = reader.RecordSource([job.shard])
  for index in range(len(source)):
    record = decode_example(source[index])
    try:
      samples = pcm16_samples(record)
    except RecordError:
      left_out.append("out of scale for 16 bits")
      continue
    wav = f"{job.out}/wav/{job.name}/{stem}/{wav_name(record.sample_id)}"
    storage.write_bytes(wav, encode_wav(samples))
    lines.append(format_line(record, wav))
  storage.write_bytes(path, "".join(lines).encode())
  storage.write_bytes(state, json.dumps({"crc32c": crc32c, "left_out": left_out}).encode())
  return _Part(path=path, left_out=tuple(left_out), made=True)
