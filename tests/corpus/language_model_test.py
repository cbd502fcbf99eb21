"""Language models from text files and data sets, and what cannot be used."""

import gzip
import pathlib

import kenlm
import numpy as np
import pytest

from maxtext_ext.cli import main
from maxtext_ext.corpus.language_model import Built, build
from maxtext_ext.records.schema import Record
from maxtext_ext.text.arpa import read_head
from tests import tiny


def built(sources: list[pathlib.Path], out: pathlib.Path, **options) -> Built:
  defaults = {"order": 2, "prune": (0,), "split": "train", "normalize": str.lower}
  return build([str(source) for source in sources], str(out), **defaults | options)


def test_texts_and_data_sets_are_read_together(tmp_path: pathlib.Path, capsys):
  (tmp_path / "a.txt").write_bytes("\ufeffOne TWO\r\n\none\n".encode())
  (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"three\n"))
  audio = np.zeros(16_000, np.float32)
  texts = ["Two four", "five", "six"]
  records = [Record(sample_id=f"r{i}", audio=audio, text=text) for i, text in enumerate(texts)]
  tiny.write_split(tmp_path / "data", "train", records)
  out = tmp_path / "lm.arpa"
  result = built([tmp_path / "a.txt", tmp_path / "b.txt.gz", tmp_path / "data"], out)
  assert (result.sentences, result.tokens, result.sizes[0]) == (6, 8, 6 + 3)
  assert result.guessed == (1, 2)
  assert "too few 1, 2-grams to estimate discounts" in capsys.readouterr().err
  assert set(read_head(str(out)).words) == {"one", "two", "three", "four", "five", "six"}
  model = kenlm.Model(str(out))
  assert model.score("one two") > model.score("two one")


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b" \n\n", "a.txt: no words; give a text with a sentence in each line"),
    (b"ok\nwhat <unk> said\n", "a.txt:2: 'what <unk> said': <unk> is no word of a text"),
    (b"\xff\xfe\n", r"a.txt: not text in UTF-8 \(invalid start byte\)"),
    (gzip.compress(b"hello " * 99)[:-9], "a.txt: its compressed content is cut or damaged"),
    (None, "a.txt: no such file or folder; expected a text file, or a data set"),
  ],
)
def test_what_cannot_be_used_is_named(tmp_path: pathlib.Path, content, message: str):
  if content is not None:
    (tmp_path / "a.txt").write_bytes(content)
  with pytest.raises(ValueError, match=message):
    built([tmp_path / "a.txt"], tmp_path / "lm.arpa")
  assert not (tmp_path / "lm.arpa").exists()


def test_the_command(tmp_path: pathlib.Path, capsys):
  text, out = tmp_path / "a.txt", tmp_path / "lm.arpa"
  text.write_text("Hello, you!\nhello\n")
  with pytest.raises(SystemExit) as done:
    main(["lm", "build", str(out), str(text), "--order", "2", "--normalizer", "basic"])
  assert not done.value.code
  assert f"{out}: 5 1-grams, 4 2-grams of 3 words in 2 sentences" in capsys.readouterr().out
  run = tmp_path / "run.yml"
  run.write_text("base_config: configs/experiments/demo.yml\nnormalizer: none\ndata_dir: ''\n")
  for options, message in (
    (["--prune", "0,x"], "--prune is '0,x', expected numbers such as 0,0,1"),
    ([], "no SOURCE: give text files or folders, or --config of a run with data_dir"),
    (["--config", str(run)], "no SOURCE"),
  ):
    with pytest.raises(SystemExit) as failed:
      main(["lm", "build", str(out), *options])
    assert failed.value.code == 2
    assert message in capsys.readouterr().err
