"""Arabic recipe: seven sources, with as many shards as the experiment's 216 GiB of ArrayRecord.

Splits are the published ones. Two sources have none to train or to validate on:
arabic-english-code-switching has `train` alone (12,480 clips, no ids), which is divided by text, so
that no sentence stands in two parts; Casablanca has `validation` and `test` for each of its eight
countries, which become train and validation. The experiment's totals (71,673 clips for validation,
71,608 for the test) tell that it divided SADA22 and mgb2 by itself, about 80/10/10: the published
validation sets have 5,140 and 5,000 clips. Shard counts follow it; what stands in them does not,
for a published test set can be compared.

Columns, from the cards and from public programs that read them: SADA22 `audio`, `text` (with
punctuation), `cleaned_text`, `speaker_age`, `speaker_gender`, `speaker_dialect`; mgb2-arabic
`audio`, `transcript`, `duration`, `quality`, `segment_id`, `recording_id` and the programme's;
arabic-english-code-switching `audio`, `sentence`; common_voice_17_0 `client_id`, `path`, `audio`,
`sentence` and votes; fleurs `id` (of the sentence, which several speakers read), `path`, `audio`,
`transcription`, `raw_transcription`, `gender`, `lang_id`; arabic_speech_corpus `file`, `text`,
`audio`, `phonetic`, `orthographic`, in Buckwalter's letters with all vowels (`text` spells it as it
sounds); Casablanca `audio`, `transcription`. fleurs and arabic_speech_corpus are not parquet
themselves, but the hub's conversion is. Every column can be given anew on the command line.
"""

from maxtext_ext.prepare.recipe import Part, Source
from maxtext_ext.prepare.split import Split

ARABIC, SWITCHING = "Arabic", "Arabic/English"


def _published(train: int, validation: int, test: int) -> tuple[Part, ...]:
  """Returns the published splits with their numbers of shards."""
  shards = {"train": train, "validation": validation, "test": test}
  return tuple(
    Part(split=split, to=split, shards=count) for split, count in shards.items() if count
  )


SOURCES = (
  Source(
    name="sada22",
    hub="MohamedRashad/SADA22",
    dataset_name="MohamedRashad/SADA22",
    language=ARABIC,
    text_key="text",
    parts=_published(19, 3, 3),
  ),
  Source(
    name="mgb2",
    hub="MohamedRashad/mgb2-arabic",
    dataset_name="MohamedRashad/mgb2_arabic",
    language=ARABIC,
    text_key="transcript",
    id_key="segment_id",
    parts=_published(29, 4, 4),
  ),
  Source(
    name="code-switching",
    hub="MohamedRashad/arabic-english-code-switching",
    dataset_name="MohamedRashad/arabic_english_code_switching",
    language=SWITCHING,
    text_key="sentence",
    parts=(
      Part(
        split="train",
        to=Split(shares=(("train", 0.8), ("validation", 0.1), ("test", 0.1)), seed=42),
        shards=1,
      ),
    ),
    by_text=True,
  ),
  Source(
    name="common-voice",
    hub="fixie-ai/common_voice_17_0",
    config="ar",
    dataset_name="fixie_ai/common_voice_17_0",
    language=ARABIC,
    text_key="sentence",
    id_key="path",
    parts=_published(3, 2, 2),
  ),
  Source(
    name="fleurs",
    hub="google/fleurs",
    config="ar_eg",
    dataset_name="google/fleurs",
    language=ARABIC,
    text_key="transcription",
    id_key="audio.path",
    parts=_published(1, 1, 1),
  ),
  Source(
    name="arabic-speech-corpus",
    hub="halabi2016/arabic_speech_corpus",
    config="clean",
    dataset_name="halabi2016/arabic_speech_corpus",
    language=ARABIC,
    text_key="orthographic",
    id_key="audio.path",
    parts=_published(1, 0, 1),
    buckwalter=True,
  ),
  Source(
    name="casablanca",
    hub="UBC-NLP/Casablanca",
    config="*",
    dataset_name="UBC_NLP/Casablanca",
    language=ARABIC,
    text_key="transcription",
    parts=(
      Part(split="validation", to="train", shards=1),
      Part(split="test", to="validation", shards=1),
    ),
  ),
)
