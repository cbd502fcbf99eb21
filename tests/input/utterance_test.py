import numpy as np
import pytest

from maxtext_ext.input.utterance import build_utterance
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY as QWEN3


def test_prompt_has_one_pad_for_each_audio_token(tokenizer, make_record):
  utterance = build_utterance(make_record(1, seconds=3.05), tokenizer, geometry=QWEN3)
  assert utterance.audio_tokens == 3 * 13 + 1
  pads = np.flatnonzero(utterance.prompt == tokenizer.audio_pad_id)
  np.testing.assert_array_equal(pads, utterance.audio_start + np.arange(40))
  assert utterance.prompt[pads[0] - 1] == tokenizer.audio_start_id
  assert utterance.prompt[pads[-1] + 1] == tokenizer.audio_end_id
  assert utterance.tokens == len(utterance.prompt) + len(utterance.target) - 1
  assert (utterance.frames, utterance.chunks) == (305, 4)
  assert utterance.seconds == pytest.approx(3.05)


@pytest.mark.parametrize(
  ("language", "in_prompt", "prompt_end", "target"),
  [
    ("Hebrew", False, "assistant\n", "language Hebrew<asr_text>a 1"),
    ("Hebrew", True, "language Hebrew<asr_text>", "a 1"),
    (None, False, "assistant\n", "language None<asr_text>a 1"),
    (None, True, "assistant\n", "language None<asr_text>a 1"),
  ],
)
def test_language_stands_in_the_target_or_the_prompt(
  tokenizer, make_record, language, in_prompt, prompt_end, target
):
  record = make_record(1, language=language)
  utterance = build_utterance(record, tokenizer, geometry=QWEN3, language_in_prompt=in_prompt)
  assert tokenizer.decode(utterance.prompt.tolist()).endswith(prompt_end)
  assert tokenizer.decode(utterance.target[:-1].tolist()) == target
  assert utterance.target[-1] == tokenizer.im_end_id


def test_a_records_own_prompt_takes_the_place_of_the_context(tokenizer, make_record):
  plain = build_utterance(make_record(1), tokenizer, geometry=QWEN3, context="b")
  own = build_utterance(make_record(1, prompt="c"), tokenizer, geometry=QWEN3, context="b")
  assert tokenizer.decode(plain.prompt.tolist()).startswith("system\nb")
  assert tokenizer.decode(own.prompt.tolist()).startswith("system\nc")


@pytest.mark.parametrize(
  ("stored", "dtype", "expected"),
  [
    (np.array([0.5, -1.5, 1.0], np.float32), "int16", [16_384, -32_768, 32_767]),
    (np.array([16_384, -32_768], np.int16), "float32", [0.5, -1.0]),
    (np.array([16_384, -32_768], np.int16), "int16", [16_384, -32_768]),
    (np.array([0.25], np.float32), "float32", [0.25]),
  ],
)
def test_samples_are_of_the_type_that_the_batch_holds(
  tokenizer, make_record, stored, dtype, expected
):
  samples = build_utterance(
    make_record(1, audio=stored), tokenizer, geometry=QWEN3, audio_dtype=dtype
  ).samples
  assert samples.dtype == dtype
  assert samples.tolist() == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e29, -1e16])
def test_samples_that_are_no_numbers_are_refused(tokenizer, make_record, bad):
  audio = np.zeros(8_000, np.float32)
  audio[7] = bad
  with pytest.raises(ValueError, match="clip1: audio holds NaN or infinite"):
    build_utterance(make_record(1, audio=audio), tokenizer, geometry=QWEN3)
