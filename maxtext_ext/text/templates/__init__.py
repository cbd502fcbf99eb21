"""Templates of prompt and target by the key `template`."""

from maxtext_ext.text.prompt_keys import PromptKeys
from maxtext_ext.text.templates.instruct import INSTRUCT
from maxtext_ext.text.templates.letters import LETTERS
from maxtext_ext.text.templates.qwen3_asr import QWEN3_ASR
from maxtext_ext.text.templates.template import Prompt, Template

__all__ = ("DEFAULT_TEMPLATE", "TEMPLATES", "Prompt", "Template")

TEMPLATES: dict[str, Template] = {
  template.name: template for template in (QWEN3_ASR, INSTRUCT, LETTERS)
}
DEFAULT_TEMPLATE = PromptKeys().template
