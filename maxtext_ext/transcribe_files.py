"""Transcription of sound files into text, JSON or subtitles."""

import functools
import os
from collections import Counter
from collections.abc import Callable, Sequence

from maxtext_ext.audio.io import load_blocks
from maxtext_ext.audio.limits import AudioError
from maxtext_ext.decode.long_audio import Recording
from maxtext_ext.decode.transcript import FORMATS, Transcription, render
from maxtext_ext.escape import printable
from maxtext_ext.files import storage
from maxtext_ext.files.outputs import require_apart, require_file_place
from maxtext_ext.keys.settings import read_overrides
from maxtext_ext.pages.duration import format_duration
from maxtext_ext.progress import ProgressLine, say
from maxtext_ext.text.languages import language_name
from maxtext_ext.transcriber import Transcriber


def output_paths(
  files: Sequence[str], output: str | None, kind: str | None
) -> tuple[str, list[str | None]]:
  """Decides in what form and where transcripts are written.

  Args:
    files: sound files.
    output: a file with the suffix of a form, for a single sound file; else a folder; None: standard
      output.
    kind: key of FORMATS; None: by the suffix of the output, or text.

  Returns:
    The form, and a path for each file, None for standard output.

  Raises:
    ValueError: they contradict each other, or two files would be written to one path.
  """
  if output is None:
    if kind in ("srt", "vtt") and len(files) > 1:
      raise ValueError(
        f"{len(files)} files of subtitles do not go to one output; give --output DIR"
      )
    return kind or "txt", [None] * len(files)
  suffix = os.path.splitext(output)[1].removeprefix(".")
  if suffix in FORMATS:
    if len(files) > 1:
      raise ValueError(f"{output} is a file, but there are {len(files)} recordings; give a folder")
    if kind not in (None, suffix):
      raise ValueError(f"{output} ends in .{suffix}, but the format is {kind}; give one of them")
    return suffix, [output]
  if suffix and len(files) == 1 and not output.endswith("/") and not os.path.isdir(output):
    raise ValueError(
      f"{output}: unknown ending .{suffix}, expected one of .{', .'.join(FORMATS)}; write a new"
      " folder with a dot in its name with / at the end"
    )
  kind = kind or "txt"
  names = [os.path.splitext(os.path.basename(file))[0] for file in files]
  name, count = Counter(names).most_common(1)[0]
  if count > 1:
    raise ValueError(
      f"{count} recordings are named {name} and would be written to {name}.{kind};"
      " transcribe them into different folders"
    )
  return kind, [storage.join(output, f"{name}.{kind}") for name in names]


def transcribe_files(
  model: str,
  files: Sequence[str],
  *,
  echo: Callable[[str], None],
  overrides: Sequence[str] = (),
  output: str | None = None,
  kind: str | None = None,
  language: str | None = None,
  context: str | None = None,
  piece_seconds: float,
  vad: bool = False,
) -> None:
  """Transcribes files of up to 10 hours each; writes each transcript when it is finished.

  Args:
    model: as `Transcriber.from_pretrained` takes it.
    files, output, kind: as `output_paths` takes them.
    echo: called with what is for standard output, in the order of the files.
    overrides: keys of the configuration, `key=value`.
    language, context, piece_seconds, vad: as `Transcriber.transcribe` takes them.

  Raises:
    ValueError: the options or the model cannot be used, or some files could not be transcribed;
      the others are written.
  """
  kind, paths = output_paths(files, output, kind)
  written = [path for path in paths if path]
  for place in written:
    require_file_place(place)
  require_apart(written, files)
  if language is not None:
    language_name(language)  # an error before the model is loaded
  keys = read_overrides(overrides)
  recordings = [
    Recording(blocks=functools.partial(load_blocks, file), language=language, context=context)
    for file in files
  ]
  transcriber = Transcriber.from_pretrained(model, **keys)
  printed: dict[int, str] = {}
  failed, seconds, following = 0, 0.0, 0
  with ProgressLine("transcribe", len(files)) as progress:
    results = transcriber.transcribe_each(recordings, piece_seconds=piece_seconds, vad=vad)
    for done, (number, result) in enumerate(results, 1):
      if isinstance(result, AudioError):
        failed += 1
        printed[number] = ""
        say(f"error: {result}")
      else:
        _warn(files[number], result)
        seconds += result.seconds
        printed[number] = ""
        content = render(result, kind, files[number])
        if path := paths[number]:
          with storage.atomic_open(path) as file:
            file.write(content)
        elif kind == "txt" and len(files) > 1:
          printed[number] = f"{files[number]}: {content}"
        else:
          printed[number] = content
      while following in printed:
        if text := printed.pop(following):
          echo("\n".join(map(printable, text.split("\n"))))
        following += 1
      progress.update(done, f"{format_duration(seconds)} of audio")
  if written:
    done = len(files) - failed
    say(f"{output}: {done} transcript{'' if done == 1 else 's'}")
  if failed:
    raise ValueError(
      f"{failed} of {len(files)} recordings could not be transcribed: the lines above"
    )


def _warn(file: str, result: Transcription) -> None:
  """Says which stretches of speech have no text."""
  if not result.uncovered:
    return
  stretches = ", ".join(f"{each.start:.1f}-{each.end:.1f} s" for each in result.uncovered[:5])
  more = len(result.uncovered) - 5
  say(
    f"{file}: speech with too little text at {stretches}{f' and {more} more' if more > 0 else ''}"
  )
