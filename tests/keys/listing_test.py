"""Lists of keys, and the page of them."""

import json
import pathlib

from maxtext_ext.keys import listing
from maxtext_ext.keys.settings import read
from maxtext_ext.keys.speech import SpeechKeys, groups
from maxtext_ext.text.templates import TEMPLATES

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "configuration.md"
LORA = "configs/experiments/hebrew_lora.yml"


def test_the_page_is_up_to_date():
  assert PAGE.read_text("utf-8") == listing.to_markdown(), (
    "the declarations have changed: maxtext-ext config --markdown > docs/configuration.md"
  )


def test_every_value_has_its_origin(monkeypatch):
  monkeypatch.setenv("M_MAX_SECONDS", "12.5")
  monkeypatch.setenv("M_DTYPE", "float32")
  listed = listing.rows(read(LORA, ["lora_rank=4", "steps=3"]), with_maxtext=True)
  found = {row.key: (row.value, row.origin) for row in listed}
  assert len(found) == len(listed), "each once"
  expected = {
    "lora_rank": (4, "the command line"),
    "lora_alpha": (32.0, LORA),
    "max_seconds": (12.5, "M_MAX_SECONDS in the environment"),
    "packing_lookahead": (512, "default"),
    "context": ("", "default"),  # MaxText has another key of this name
    "epochs": (0.0, "the command line"),  # of steps
    "steps": (3, "the command line"),
    "dtype": ("float32", "M_DTYPE in the environment"),
    "base_emb_dim": (2048, "configs/models/qwen3-asr-1.7b.yml"),
    "adam_b2": (0.95, "configs/speech.yml"),
  }
  assert {key: found[key] for key in expected} == expected
  assert "muon_beta" not in found, "what MaxText's own file sets"
  assert json.loads(listing.to_json(listed))[0]["key"] == "model_name"


def test_groups_are_listed_without_maxtexts_keys():
  listed = [row.key for row in listing.rows(read(LORA))]
  assert listed == [key for group in groups() for key in group.model_fields]
  assert "steps" not in listed


def test_every_key_is_declared_once_and_explained():
  keys = [key for group in groups() for key in group.model_fields]
  assert len(set(keys)) == len(keys)
  for group in groups():
    assert group.model_config["title"] and group.__doc__
    assert all(field.description for field in group.model_fields.values()), group


def test_no_check_of_a_group_hides_that_of_another():
  """Validators are inherited by name."""
  for kind in ("field_validators", "model_validators"):
    own = [name for group in groups() for name in getattr(group.__pydantic_decorators__, kind)]
    assert len(set(own)) == len(own)
    assert set(own) <= set(getattr(SpeechKeys.__pydantic_decorators__, kind))


def test_choices_are_those_of_the_code():
  assert set(listing.kinds()["template"].choices) == set(TEMPLATES)
