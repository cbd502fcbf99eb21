"""Speech synthesis by espeak-ng, whose library and voices ship in the `espeakng-loader` wheel.

The library has global state, so there is one engine per process. The state of its noise and phase
carries over between calls: the same calls in the same order in a fresh process give the same
samples, a repeated call does not.
"""

import ctypes
import functools
import os
import tempfile
from pathlib import Path

import espeakng_loader
import numpy as np

SAMPLE_RATE = 22_050  # Hz

_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: samples go to the callback, the call returns when done
_DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT: report errors, don't end the process
_UTF8 = 1  # espeakCHARS_UTF8
_IPA = 2  # phoneme mode
_POSITION_CHARACTER = 1
_RATE, _VOLUME, _PITCH, _PITCH_RANGE, _WORD_GAP = 1, 2, 3, 4, 7  # espeak_PARAMETER
_QUIET_VOLUME = 60  # of 100: some voices overdrive 16 bits at full volume
_MAX_DATA_PATH = 140  # bytes; espeak-ng keeps paths in buffers of 160
_NOISE_SEED = 1  # unseeded, breath and flutter follow the clock
_FAILED = "(en)"  # espeak-ng switched to English: it did not know how to say something

_SampleCallback = ctypes.CFUNCTYPE(
  ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@functools.cache
def engine() -> "Espeak":
  """Returns the process's only engine, started on first use."""
  return Espeak()


class Espeak:
  """Loaded library; get it from `engine()`.

  Voices are named `base+variant`: the base is a language or accent ("en", "en-us", "ar", "he"), the
  variant one of `variants`.
  """

  def __init__(self) -> None:
    self._library = library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_Initialize.argtypes = [
      ctypes.c_int,
      ctypes.c_int,
      ctypes.c_char_p,
      ctypes.c_int,
    ]
    library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
    library.espeak_SetParameter.argtypes = [ctypes.c_int] * 3
    library.espeak_SetSynthCallback.argtypes = [_SampleCallback]
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    library.espeak_Synth.argtypes = [
      *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int),
      *(ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),
    ]
    library.espeak_TextToPhonemes.argtypes = [
      ctypes.POINTER(ctypes.c_void_p),
      ctypes.c_int,
      ctypes.c_int,
    ]
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p

    data = Path(espeakng_loader.get_data_path())
    if len(os.fsencode(data)) > _MAX_DATA_PATH:
      self._short_path = tempfile.TemporaryDirectory(prefix="espeak-")
      link = Path(self._short_path.name) / data.name
      link.symlink_to(data, target_is_directory=True)
      data = link
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(data), _DONT_EXIT)
    if rate != SAMPLE_RATE:
      raise RuntimeError(f"espeak-ng did not start with its data in {data} (returned {rate})")

    self.variants = frozenset(file.name for file in (data / "voices" / "!v").iterdir())
    self._buffers: list[np.ndarray] = []
    self._callback = _SampleCallback(self._collect)  # the library holds no reference to it
    library.espeak_SetSynthCallback(self._callback)
    library.espeak_SetParameter(_VOLUME, _QUIET_VOLUME, 0)
    library.espeak_ng_SetRandSeed(_NOISE_SEED)
    self._voice = ""

  def synthesize(
    self,
    text: str,
    voice: str,
    *,
    rate: int = 175,
    pitch: int = 50,
    pitch_range: int = 50,
    word_gap: int = 0,
  ) -> np.ndarray:
    """Speaks `text`.

    Args:
      text: what to say, with the marks that the voice's language needs.
      voice: "base" or "base+variant".
      rate: words a minute, 80 to 450.
      pitch: 0 to 100.
      pitch_range: 0 (monotone) to 100.
      word_gap: pause between words, in units of 10 ms at the default rate.

    Returns:
      [T] int16 samples at `SAMPLE_RATE`.

    Raises:
      ValueError: no such voice, or no sound came out.
    """
    self._set_voice(voice)
    parameters = {_RATE: rate, _PITCH: pitch, _PITCH_RANGE: pitch_range, _WORD_GAP: word_gap}
    for parameter, value in parameters.items():
      self._library.espeak_SetParameter(parameter, value, 0)
    self._buffers.clear()
    data = text.encode() + b"\0"
    error = self._library.espeak_Synth(
      data, len(data), 0, _POSITION_CHARACTER, 0, _UTF8, None, None
    )
    if error:
      raise RuntimeError(f"espeak-ng failed on {text!r} with {voice} (error {error})")
    if not any(buffer.any() for buffer in self._buffers):
      raise ValueError(f"espeak-ng made no sound of {text!r} with {voice}; is there a word in it?")
    return np.concatenate(self._buffers)

  def phonemes(self, text: str, voice: str) -> str:
    """Transcribes the pronunciation of `text` in the International Phonetic Alphabet.

    Raises:
      ValueError: no such voice, or espeak-ng fell back to spelling in English.
    """
    self._set_voice(voice)
    data = ctypes.create_string_buffer(text.encode())
    position = ctypes.c_void_p(ctypes.addressof(data))
    clauses = []
    while position.value:
      clause = self._library.espeak_TextToPhonemes(ctypes.byref(position), _UTF8, _IPA)
      clauses.append(clause.decode())
    spoken = " ".join(clauses)
    if _FAILED in spoken:
      raise ValueError(
        f"{voice} cannot say {text!r} and falls back to English ({spoken}); check the order of its"
        " marks"
      )
    return spoken

  def _set_voice(self, voice: str) -> None:
    if voice == self._voice:
      return
    base, _, variant = voice.partition("+")
    # espeak-ng would take an unknown variant silently for the base voice.
    if variant and variant not in self.variants:
      raise ValueError(
        f"{voice}: no variant {variant!r}; known: {', '.join(sorted(self.variants))}"
      )
    if self._library.espeak_SetVoiceByName(voice.encode()):
      raise ValueError(f"{voice}: espeak-ng has no voice {base!r}")
    self._voice = voice

  def _collect(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _: int | None) -> int:
    if samples and count > 0:
      self._buffers.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
    return 0  # go on
