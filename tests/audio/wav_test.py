import io

import numpy as np
import soundfile

from maxtext_ext.audio.wav import encode_wav


def test_samples_come_back_unchanged():
  samples = np.array([0, 1, -1, 32_767, -32_768, 12], np.int16)
  with soundfile.SoundFile(io.BytesIO(encode_wav(samples))) as file:
    assert (file.format, file.subtype, file.channels) == ("WAV", "PCM_16", 1)
    assert file.samplerate == 16_000
    np.testing.assert_array_equal(file.read(dtype="int16"), samples)
