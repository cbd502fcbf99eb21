"""GigaSpeech recipe: a training subset (xs, s, m, l or xl) with validation and test.

Three forms are read: parquet files by subset, `xs/train-00000-of-00001.parquet`, with columns
`segment_id`, `speaker`, `text`, `audio`, `begin_time`, `end_time`, `audio_id`, `title`, `url`,
`source`, `category`, `original_full_path`; the archives of speechcolab/gigaspeech on the hub
(sources/gigaspeech.py); and the original release, GigaSpeech.json with whole recordings beside it
(gigaspeech_segments.py). All of them are given to those who have accepted the terms.

Texts become lower case. The marks `<COMMA> <PERIOD> <QUESTIONMARK> <EXCLAMATIONPOINT>` become
punctuation or are removed; `<SIL> <MUSIC> <NOISE> <OTHER>` stand for utterances without speech,
nearly all of them in validation and test, and these are left out, as the corpus asks for training
and its scoring does. Speakers are not known ("N/A").

Hours are 10, 250, 1000, 2500 and 10,000, and about 12 and 40. Numbers of utterances: the card of
speechcolab/gigaspeech, for version 1.0.0; those without speech are among them.
"""

from maxtext_ext.files import storage
from maxtext_ext.files.connection import is_url
from maxtext_ext.prepare import gigaspeech_segments
from maxtext_ext.prepare.recipe import Part, Published, Source
from maxtext_ext.sources.gigaspeech import SUBSETS

HUB = "speechcolab/gigaspeech"
TERMS = (
  "GigaSpeech needs an accepted licence: accept its terms at "
  f"https://huggingface.co/datasets/{HUB} and set HF_TOKEN, or fill out the form at "
  "https://github.com/SpeechColab/GigaSpeech and give the folder of what you received"
)
RECORDS = {"xs": 9_389, "s": 230_068, "m": 910_140, "l": 2_266_371, "xl": 8_282_988}
_EVALUATION = {"validation": 6_750, "test": 25_619}
_TAGS = {"validation": "DEV", "test": "TEST"}  # in GigaSpeech.json
_SEGMENTS = "GigaSpeech.json"


def source_of(subset: str, *, punctuation: bool) -> Source:
  """Returns the source of a subset.

  Args:
    subset: one of SUBSETS.
    punctuation: whether the four marks stay, as punctuation.
  """
  assert subset in SUBSETS, subset
  records = {"train": RECORDS[subset], **_EVALUATION}
  return Source(
    name=subset,
    hub=HUB,
    dataset_name="gigaspeech",
    language="English",
    text_key="text",
    id_key="segment_id",
    change="gigaspeech_marks" if punctuation else "gigaspeech_words",
    locate=_Locate(subset),
    terms=TERMS,
    parts=tuple(
      Part(split=split, to=split, config=subset, published=Published(records=count))
      for split, count in records.items()
    ),
  )


class _Locate:
  """Finder of the forms other than parquet, for a subset."""

  def __init__(self, subset: str) -> None:
    self._subset = subset

  def __call__(self, where: str, part: Part, out: str) -> tuple[str, str] | None:
    segments = storage.join(where, _SEGMENTS)
    if storage.is_file(segments):
      # A manifest may only name files of its own kind, local or in a bucket.
      folder = out if is_url(out) == is_url(where) else where
      manifest = storage.join(folder, f"{self._subset}-{part.split}.segments.jsonl")
      tag = _TAGS.get(part.split, self._subset.upper())
      gigaspeech_segments.write_manifest(segments, manifest, tag)
      return "jsonl", manifest
    if any(
      storage.find_below(where, f"{folder}*_files*/*") for folder in ("audio/", "data/audio/")
    ):
      return "gigaspeech", f"{where}:{self._subset}#{part.split}"
    return None
