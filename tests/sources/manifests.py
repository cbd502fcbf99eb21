"""A folder with sound files that manifests of every kind can name."""

import gzip
import io
import json
import pathlib
import tarfile

import numpy as np
import soundfile

RATE = 16_000


def ramp(begin: float, end: float) -> np.ndarray:
  """Samples from one second to another of a sound that tells where it was cut out."""
  return (0.1 * np.arange(int(begin * RATE), int(end * RATE)) / RATE).astype(np.float32)


def write_sounds(folder: pathlib.Path) -> pathlib.Path:
  """Writes one.wav (1 s), long.flac (4 s) and stereo.wav (1 s, the right channel half as loud)."""
  soundfile.write(folder / "one.wav", ramp(0, 1), RATE, subtype="FLOAT")
  soundfile.write(folder / "long.flac", ramp(0, 4), RATE)
  both = np.stack([ramp(0, 1), ramp(0, 1) / 2], axis=1)
  soundfile.write(folder / "stereo.wav", both, RATE, subtype="FLOAT")
  return folder


def sound_bytes(begin: float, end: float, kind: str = "FLAC") -> bytes:
  """A sound file of a part of that ramp."""
  file = io.BytesIO()
  soundfile.write(file, ramp(begin, end), RATE, format=kind)
  return file.getvalue()


def write_tar(path: pathlib.Path, *members: tuple[str, bytes]) -> pathlib.Path:
  """Writes a tar file."""
  with tarfile.open(path, "w") as archive:
    for name, content in members:
      header = tarfile.TarInfo(name)
      header.size = len(content)
      archive.addfile(header, io.BytesIO(content))
  return path


def write_lines(path: pathlib.Path, *items: object) -> pathlib.Path:
  """Writes JSON lines, compressed where the name says so."""
  content = "".join(json.dumps(item) + "\n" for item in items).encode()
  path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
  return path
