"""Hebrew recipe: two corpora of ivrit.ai, 95% of each for training and 5% for validation.

Columns of ivrit-ai/crowd-transcribe-v5 (42 files data/train-*, 196,000 clips, 254 to 300 h, MP3):
`uuid`, `audio` {bytes, path}, `sentence` (what a volunteer wrote), `orig_sentence` (what a model
had written), `extra_data` and marks such as `noisy` and `multiple_speakers`. None of them says of
which recording or speaker a clip is. Source: public programs that read the files with pyarrow; the
card has no text.

Columns of ivrit-ai/crowd-recital-whisper-training (50 h of Wikipedia read aloud): `audio`, an MP3
of 30 s whose `path` is the recording's id and so the same for all of its clips; `transcript`, with
Whisper's timestamps ("<|0.00|>text<|2.40|>"), the last of which may open a segment that the next
clip holds; `metadata` {seek, duration, source, entry_id, quality_score}; `has_prev`,
`has_timestamps`, `prev_transcript`. Source: create_dataset.py of ivrit-ai/asr-training, which made
it.

The published recipe (0.5 to 30 s, 95/5, seed 42) shuffles all clips. Here a clip's part follows
from its id, and the clips of one recording stay together where the recording is known.
"""

from maxtext_ext.prepare.recipe import Part, Source
from maxtext_ext.prepare.select import MP3_PADDING
from maxtext_ext.prepare.split import Split

LANGUAGE = "Hebrew"
SPLIT = Split(shares=(("train", 0.95), ("validation", 0.05)), seed=42)

SOURCES = (
  Source(
    name="crowd-transcribe",
    hub="ivrit-ai/crowd-transcribe-v5",
    dataset_name="ivrit-ai/crowd-transcribe-v5",
    language=LANGUAGE,
    text_key="sentence",
    id_key="uuid",
    parts=(Part(split="train", to=SPLIT),),
  ),
  Source(
    name="crowd-recital",
    hub="ivrit-ai/crowd-recital-whisper-training",
    dataset_name="ivrit-ai/crowd-recital-whisper-training",
    language=LANGUAGE,
    text_key="transcript",
    id_key="metadata.entry_id,metadata.seek",
    parts=(Part(split="train", to=SPLIT),),
    overhang_seconds=MP3_PADDING,
    whisper_segments=True,
    group=r"^(.*)-[^-]*$",
  ),
)
