"""Special tokens of known tokenizers, and the ids that Qwen3-ASR's publisher gives them."""

PAD = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
AUDIO_START = "<|audio_start|>"
AUDIO_END = "<|audio_end|>"
AUDIO_PAD = "<|audio_pad|>"
ASR_TEXT = "<asr_text>"
# Those that the Qwen3-ASR template uses.
OF_QWEN3_ASR = (PAD, IM_START, IM_END, AUDIO_START, AUDIO_END, AUDIO_PAD, ASR_TEXT)

# What Qwen3-ASR adds to the Qwen3 tokenizer, by id (its tokenizer_config.json).
QWEN3_SIZE = 151_669
QWEN3_IM_END_ID = 151_645
_TTS = ("<tts_pad>", "<tts_text_bos>", "<tts_text_eod>", "<tts_text_bos_single>")
_BLANKS = tuple(f"<blank{n}>" for n in range(1, 28))
_ADDED = (
  *(AUDIO_START, AUDIO_END, *_TTS),
  *("<non_speech>", AUDIO_PAD, *_BLANKS, ASR_TEXT, "<timestamp>"),
)
QWEN3_ASR_TOKENS = {name: QWEN3_SIZE + i for i, name in enumerate(_ADDED)}
QWEN3_ASR_SPECIAL = (AUDIO_START, AUDIO_END, *_TTS, AUDIO_PAD)

# What Qwen3 adds to its own entries.
_QWEN3_TOKENS = (
  *(PAD, IM_START, IM_END, "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
  *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>"),
  *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>"),
  *("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>"),
  *("<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
)
# What SmolLM2 has beside those.
_SMOLLM2_TOKENS = (
  *("<repo_name>", "<reponame>", "<file_sep>", "<filename>", "<gh_stars>", "<issue_start>"),
  *("<issue_comment>", "<issue_closed>", "<jupyter_start>", "<jupyter_text>", "<jupyter_code>"),
  *("<jupyter_output>", "<jupyter_script>", "<empty_output>"),
)
# Tokens that have a meaning of their own, so that no text may produce them.
CONTROL = frozenset((*OF_QWEN3_ASR, *_QWEN3_TOKENS, *QWEN3_ASR_TOKENS, *_SMOLLM2_TOKENS))
