"""Cache of noise files and room impulse responses, listed and decoded once per process."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import soundfile

from maxtext_ext.audio.io import check_samples, load_audio, resample
from maxtext_ext.audio.limits import AudioError
from maxtext_ext.files import storage

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
CACHE_BYTES = 256 << 20  # a process: 70 minutes of float32; all of RIRS_NOISES' real responses


class SoundCache:
  """LRU cache of decoded files, limited in bytes; thread-safe.

  A file larger than the cache is decoded each time.
  """

  def __init__(self, max_bytes: int) -> None:
    self._max_bytes = max_bytes
    self._bytes = 0
    self._sounds: OrderedDict[str, np.ndarray] = OrderedDict()
    self._lock = threading.Lock()

  @property
  def nbytes(self) -> int:
    """Bytes of the cached samples."""
    return self._bytes

  def get(self, path: str, decode: Callable[[str], np.ndarray]) -> np.ndarray:
    """Returns the read-only samples of a file; calls `decode(path)` when they are not cached."""
    with self._lock:
      if path in self._sounds:
        self._sounds.move_to_end(path)
        return self._sounds[path]
    samples = decode(path)  # outside the lock: at worst two threads decode the same file
    samples.flags.writeable = False
    with self._lock:
      if path not in self._sounds and samples.nbytes <= self._max_bytes:
        self._sounds[path] = samples
        self._bytes += samples.nbytes
      while self._bytes > self._max_bytes:
        self._bytes -= self._sounds.popitem(last=False)[1].nbytes
    return samples


_noises = SoundCache(CACHE_BYTES)
_responses = SoundCache(CACHE_BYTES)


def find_sounds(folder: str) -> tuple[str, ...]:
  """Lists the sound files of a folder and its subfolders, sorted.

  Raises:
    ValueError: no such folder on this machine, or no sound in it.
  """
  paths = [
    os.path.join(where, name)
    for where, _, names in storage.walk_local(folder)
    for name in names
    if name.lower().endswith(SUFFIXES)
  ]
  if not paths:
    raise ValueError(
      f"{folder}: no sounds found, expected a local folder with {', '.join(SUFFIXES)} files; "
      "check the path, and copy remote ones to every machine first"
    )
  return tuple(sorted(paths))


def load_noise(path: str) -> np.ndarray:
  """Loads noise: [T] float32, 16 kHz, channels averaged; read-only.

  Raises:
    AudioError: the file cannot be read, or is silent.
  """
  return _noises.get(path, load_audio)


def load_response(path: str) -> np.ndarray:
  """Loads the first channel of an impulse response: [T] float32, 16 kHz; read-only.

  Microphones of an array have different delays, so the average of their responses is no response.

  Raises:
    AudioError: the file cannot be read, or is silent.
  """
  return _responses.get(path, _first_channel)


def _first_channel(path: str) -> np.ndarray:
  try:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
  except soundfile.SoundFileError as error:
    raise AudioError(
      f"{path}: cannot read the impulse response ({str(error).strip()}); expected WAV or FLAC"
    ) from error
  first = np.ascontiguousarray(samples[:, 0])
  try:
    check_samples(first)
    return resample(first, rate)
  except AudioError as error:
    raise AudioError(f"{path}: {error}") from error
