"""LibriSpeech recipe: its seven published subsets as splits of one folder, in lower case.

Either the seven archives of openslr.org/12 (train-clean-100.tar.gz, ...), or the parquet files of
openslr/librispeech_asr, with their configs clean (splits train.100, train.360, validation, test)
and other (train.500, validation, test), or the config `all` (train.clean.100, validation.other,
...). Columns: `file`, `audio`, `text`, `speaker_id`, `chapter_id`, `id`. Texts are upper case
without punctuation; language models know them better in lower case.

Clips have up to 35.2 s (dev-other), and every one counts in published error rates, so that none is
left out here by default; training leaves out what is over its own `max_seconds`.

Numbers of utterances and hours: table 1 of Panayotov et al., "Librispeech", ICASSP 2015, and the
card of the data set.
"""

from collections.abc import Sequence

from maxtext_ext.files import storage
from maxtext_ext.prepare.prepare import Prepared
from maxtext_ext.prepare.recipe import Part, Published, Source
from maxtext_ext.sources.librispeech import FILE_PATTERNS

MAX_SECONDS = 40.0


def _part(to: str, shards: int, records: int, hours: float) -> Part:
  """Returns a subset: `train-clean-100` is the split train.100 of the config clean."""
  kind, config, *size = to.split("-")
  split = ".".join(["validation" if kind == "dev" else kind, *size])
  published = Published(records=records, hours=hours)
  return Part(split=split, to=to, shards=shards, config=config, published=published)


def _locate(where: str, part: Part, out: str) -> tuple[str, str] | None:
  """Finds an archive of OpenSLR, or the config `all` of a folder without the others."""
  del out
  assert isinstance(part.to, str)
  archives = [path for name in FILE_PATTERNS for path in storage.find_below(where, name)]
  if archives:
    own = [path for path in archives if _subset_of(path) == part.to]
    if not own:
      raise ValueError(
        f"{where}: no archive {part.to}.tar.gz in it; download it, or name those to prepare: "
        + " ".join(f"--only {name}" for name in sorted(set(map(_subset_of, archives))))
      )
    return "librispeech", own[0]
  if storage.find_below(where, "all/*/*") and not storage.find_below(where, f"{part.config}/*/*"):
    kind, *size = part.split.split(".")
    return "huggingface", f"{where}:all#{'.'.join([kind, str(part.config), *size])}"
  return None


def _subset_of(path: str) -> str:
  return path.rpartition("/")[2].partition(".")[0]


SOURCE = Source(
  name="librispeech",
  hub="openslr/librispeech_asr",
  dataset_name="librispeech",
  language="English",
  text_key="text",
  id_key="id",
  change="lower_case",
  locate=_locate,
  parts=(
    _part("train-clean-100", 8, 28_539, 100.6),
    _part("train-clean-360", 16, 104_014, 363.6),
    _part("train-other-500", 24, 148_688, 496.7),
    _part("dev-clean", 1, 2_703, 5.4),
    _part("dev-other", 1, 2_864, 5.3),
    _part("test-clean", 1, 2_620, 5.4),
    _part("test-other", 1, 2_939, 5.1),
  ),
)


def experiment_lines(done: Sequence[Prepared]) -> str:
  """Returns the lines of an experiment's yml that train on the training subsets that are there."""
  folder = done[0].data_dir
  splits = [split for each in done for split in each.splits]
  lines = [f"data_dir: {folder}"]
  training = [split for split in splits if split.startswith("train")]
  if len(training) == 1:
    lines.append(f"train_split: {training[0]}")
  elif training:
    lines.append("mixture:")
    lines += [f"  - {{name: {name}, data_dir: {folder}, split: {name}}}" for name in training]
  if others := [split for split in splits if split.startswith("dev")]:
    lines.append(f"eval_split: {others[0]}")
  return "\n".join(lines)
