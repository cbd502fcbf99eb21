"""Normalised texts and figures of public boards' own code, stored in boards.json.

    python -m tests.golden.make_boards OPEN_ASR IVRIT ELM

The arguments are checkouts of huggingface/open_asr_leaderboard, ivrit-ai/asr-training and
Natural-Language-Processing-Elm/open_universal_arabic_asr_leaderboard, in an environment with
kaldialign, num2words, regex, jiwer, hebrew and openai-whisper's normalisers (whisper_normalizer has
the same BasicTextNormalizer). Functions are taken out of their files, so that data sets, models and
NeMo are not needed. `board_texts` makes the texts, from pieces that the boards' rules are about.
"""

import argparse
import ast
import contextlib
import json
import random
import re
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("boards.json")
PIECES = {
  "english": """Mr. Dr. St. don't can't it's he's Sara's there's kinda 'cause gonna uh um hmm huh
    ehehe colour cancelation cancellations OK o k et cetera all right Wi-Fi e-mail x-ray T-shirt
    a.m. p.m.
    b b c U.S.A. 5 g a i Jon Stephen Mohamad MacDonald twenty five one hundred and fifty first
    nineteen ninety nine $20 million dollars cents percent 3.14 10,000 double oh seven point half
    [noise] (laughs) <unk> naïve café Ångström æther ß ½ … well, yes! (so) "quoted" fly-er flyer mm
    and a half the of to in words ok kay travelogue archaeology 1st 2nd 1960s £5 10% C++ a b""",
  "german": """Haus-Tür Straße 12 3.000 10 000 Über naïve ½ „Zitat“ (leise) [Lachen] der die das
    hunderttausend 1999 7 Donaudampfschiff 3,5 20% Größe und -""",
  "french": """l'été aujourd'hui 80 1 000 000 95 garçon œuvre « mot » 3,14 qu'il (rires) à 71
    2024""",
  "italian": """perché città l'uomo 23 1000 è già 180 °C 3/4 «bene» 28 (ride) più 1 000""",
  "spanish": """¿Qué? ¡hola! 21 1.500 año niño 100 (risas) está 16 31 [ruido] 2 000 000 más""",
  "portuguese": """não coração 22 1.000 português avó (risos) 16 17 19 110 água [ruído] 2 000""",
  "hebrew": """שלום שָׁלוֹם עולם צה"ל צה״ל ג'ורג' ג׳ורג׳ בית־ספר בְּרֵאשִׁ֖ית \u200fכן\u200f א\u05bfב
    (צחוק) [רעש] 3.5 50% אבג. דהו, hello é ׀ ׃ "ציטוט" ״ציטוט״ \u202bרב\u202c ﬠ \u05bd""",
  "arabic": """السلام أهلا إلى آخر مؤمن بيئة شيء ماء و و كتاب مَدْرَسَةٌ ١٢٣ پاريس ڤيديو، نعم؟ «قال» ـهذا
    ٪ لا. هٰذا القاهرة على ؛ hello! 45 و و""",
}  # fmt: skip


def board_texts(language: str, count: int = 150) -> list[str]:
  """Makes texts of up to 12 pieces; the first ones have each piece alone."""
  pieces = PIECES[language].split()
  rng = random.Random(language)
  texts = [" ".join(rng.choices(pieces, k=rng.randint(0, 12))) for _ in range(count)]
  return pieces + texts


def board_pairs(language: str) -> list[tuple[str, str]]:
  """Makes pairs of a reference and a hypothesis, some with words joined or apart."""
  rng = random.Random(language)
  pairs = []
  for text in board_texts(language):
    words = [word for word in text.split() if rng.random() > 0.1]
    heard = "".join(word + rng.choice(("", " ", " ", " ", " ")) for word in words)
    pairs.append((text or "-", heard))
  return pairs


def functions(path: Path, names: list[str], scope: dict[str, Any]) -> dict[str, Any]:
  """Runs these functions, classes and constants of a file alone."""
  tree = ast.parse(path.read_text("utf-8"))
  tree.body = [
    node
    for node in tree.body
    if getattr(node, "name", None) in names
    or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) in names)
  ]
  exec(compile(tree, str(path), "exec"), scope)
  return scope


def open_asr(checkout: Path) -> dict[str, Any]:
  """Normalised texts by language, and figures of manifests."""
  import num2words

  package = types.ModuleType("normalizer")
  package.__path__ = [str(checkout / "normalizer")]
  sys.modules["normalizer"] = package
  from normalizer import normalizer as rules

  own = functions(
    checkout / "normalizer" / "data_utils.py",
    ["MultilingualNormalizer"],
    {**vars(rules), "re": re, "num2words": num2words},
  )
  several = own["MultilingualNormalizer"](remove_diacritics=False)
  texts = {"english": rules.EnglishTextNormalizer()}
  for language, code in (
    *(("german", "de"), ("french", "fr"), ("italian", "it")),
    *(("spanish", "es"), ("portuguese", "pt")),
  ):
    texts[language] = lambda text, code=code: several(text, lang=code)
  data_utils = types.ModuleType("normalizer.data_utils")
  data_utils.normalizer, data_utils.ml_normalizer = texts["english"], several
  sys.modules["normalizer.data_utils"] = package.data_utils = data_utils
  from normalizer import eval_utils

  with tempfile.TemporaryDirectory() as folder:
    write_open_asr(Path(folder))
    figures = {}
    for code in ("en", "de"):
      with contextlib.redirect_stdout(None):
        _, results = eval_utils.score_results(
          folder,
          multilingual=code != "en",
          language=code,
          families=["public"] if code == "en" else ["ml_de"],
        )
      figures[code] = {name.split(" | ")[1]: row for name, row in results.items()}
  normal = {
    language: [" ".join(normalize(text).split()) for text in board_texts(language)]
    for language, normalize in texts.items()
  }
  return {"texts": normal, "figures": figures}


def write_open_asr(folder: Path) -> None:
  """Writes manifests of three sets: English, English in chunks, and German."""
  rng = random.Random(0)

  def write(name: str, lines: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / f"MODEL_org-model_DATASET_{name}.jsonl").write_text(text, "utf-8")

  def line(number: int, said: str, heard: str, **more: Any) -> dict[str, Any]:
    seconds = round(rng.uniform(1, 20), 3)
    texts = {"text": said, "pred_text": heard}
    return (
      {"audio_filepath": f"s{number}.wav", "duration": seconds, "time": seconds / 90} | texts | more
    )

  pairs = board_pairs("english")
  write("org-set_librispeech_test.clean", [line(n, *pair) for n, pair in enumerate(pairs)])
  chunks = [
    line(n, pairs[n % 3][0] + " and more", pairs[n][1], parent_id=f"p{n % 3}", chunk_index=n // 3)
    for n in range(30)
  ]
  rng.shuffle(chunks)
  write("org-calls_earnings22_cleaned_aa_chunked_test", chunks)
  german = [line(n, *pair) | {"time": None} for n, pair in enumerate(board_pairs("german"))]
  write("org-several_fleurs_de_test", german)


def ivrit(checkout: Path) -> dict[str, Any]:
  """Normalised texts, and corpus WER and WIL."""
  import jiwer
  import whisper_normalizer.basic
  from hebrew import Hebrew

  whisper = types.SimpleNamespace(normalizers=whisper_normalizer.basic)
  own = functions(
    checkout / "evaluate_model.py",
    ["clean_some_unicode_from_text", "remove_niqqud", "HebrewTextNormalizer"],
    {"Hebrew": Hebrew, "whisper": whisper},
  )
  normalize = own["HebrewTextNormalizer"]()
  sides = zip(*board_pairs("hebrew"), strict=True)
  output = jiwer.process_words(*([normalize(text) for text in side] for side in sides))
  normal = [" ".join(normalize(text).split()) for text in board_texts("hebrew")]
  return {"texts": normal, "wer": output.wer, "wil": output.wil}


def elm(checkout: Path) -> dict[str, Any]:
  """Normalised texts, and WER and CER by NeMo's definition: all edits over all units."""
  own = functions(checkout / "eval.py", ["normalize_arabic_text"], {"re": re})
  normalize = own["normalize_arabic_text"]
  sides = zip(*board_pairs("arabic"), strict=True)
  references, hypotheses = ([normalize(text) for text in side] for side in sides)

  def rate(split: Any) -> float:
    pairs = [(split(r), split(h)) for r, h in zip(references, hypotheses, strict=True)]
    return sum(distance(*pair) for pair in pairs) / sum(len(r) for r, _ in pairs)

  normal = [normalize(text) for text in board_texts("arabic")]
  return {"texts": normal, "wer": rate(str.split), "cer": rate(list)}


def distance(one: list[str], other: list[str]) -> int:
  """The Levenshtein distance by its definition."""
  row = list(range(len(other) + 1))
  for i, said in enumerate(one, 1):
    above, row = row, [i]
    for j, heard in enumerate(other, 1):
      row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (said != heard)))
  return row[-1]


def main() -> None:
  """Writes the file."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  for name in ("open_asr", "ivrit", "elm"):
    parser.add_argument(name, type=Path)
  options = parser.parse_args()
  boards = {
    "open_asr": open_asr(options.open_asr),
    "ivrit": ivrit(options.ivrit),
    "elm": elm(options.elm),
  }
  FILE.write_text(json.dumps(boards, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
  main()
