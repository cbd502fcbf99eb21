import pytest
import recipe_files
import recipe_scripts

from maxtext_ext.prepare import arabic, hebrew
from maxtext_ext.prepare.command import choose, mixture_lines
from maxtext_ext.prepare.prepare import PrepareOptions, prepare

NAMES = tuple(source.name for source in hebrew.SOURCES)


@pytest.fixture
def folders(tmp_path):
  recipe_files.write(
    tmp_path / "crowd-transcribe/data/train-00000-of-00002.parquet",
    recipe_files.transcribe_rows(0, 40),
    recipe_files.TRANSCRIBE,
  )
  recipe_files.write(
    tmp_path / "crowd-transcribe/data/train-00001-of-00002.parquet",
    recipe_files.transcribe_rows(40, 20),
    recipe_files.TRANSCRIBE,
  )
  recipe_files.write(
    tmp_path / "crowd-recital/data/train-00000-of-00001.parquet",
    recipe_files.recital_rows(range(20)),
    recipe_files.RECITAL,
  )
  return tmp_path


def run(folders, **options):
  sources = [(source, str(folders / source.name)) for source in hebrew.SOURCES]
  return prepare(sources, str(folders / "out"), PrepareOptions(**options))


def parts(folders):
  return {
    record.sample_id: split
    for name in NAMES
    for split in ("train", "validation")
    for record in recipe_scripts.read(folders / "out" / name, split)
  }


def test_data_that_is_added_moves_nothing(folders):
  run(folders)
  before = parts(folders)
  # As on the hub: all files are numbered anew, and the rows may stand in another order.
  data = folders / "crowd-transcribe/data"
  data.joinpath("train-00000-of-00002.parquet").rename(data / "train-00002-of-00003.parquet")
  data.joinpath("train-00001-of-00002.parquet").rename(data / "train-00001-of-00003.parquet")
  recipe_files.write(
    data / "train-00000-of-00003.parquet",
    recipe_files.transcribe_rows(60, 40)[::-1],
    recipe_files.TRANSCRIBE,
  )
  recipe_files.write(
    folders / "crowd-recital/data/train-00000-of-00001.parquet",
    recipe_files.recital_rows(reversed(range(30))),
    recipe_files.RECITAL,
  )
  run(folders)
  after = parts(folders)
  assert len(after) == len(before) + 40 + 30
  assert {sample_id: after[sample_id] for sample_id in before} == before
  assert set(after.values()) == {"train", "validation"}


def test_counts_and_a_second_run(folders):
  calls = []
  sources = [(source, str(folders / source.name)) for source in hebrew.SOURCES]
  options = PrepareOptions(min_seconds=1.2)
  first = prepare(sources, str(folders / "out"), options, watch=lambda *call: calls.append(call))
  for each in first:
    counts = each.summary
    assert counts.read == counts.written + counts.quarantined + sum(counts.left_out.values())
    assert sum(split.records for split in each.splits.values()) == counts.written
    assert sum(split.seconds for split in each.splits.values()) == pytest.approx(counts.seconds)
  assert [each.summary.left_out for each in first] == [{"shorter than 1.2 s": 60}, {}]
  assert {name for name, _, _ in calls} == {"crowd-transcribe train", "crowd-recital train"}
  assert all(0 <= share <= 1 for _, share, _ in calls)

  second = prepare(sources, str(folders / "out"), options)
  assert all(each.summary.repeated for each in second)
  assert [each.splits for each in second] == [each.splits for each in first]


def test_nothing_is_converted_before_all_is_found(folders):
  sources = [
    (hebrew.SOURCES[0], str(folders / NAMES[0])),
    (hebrew.SOURCES[1], str(folders / "nowhere")),
  ]
  with pytest.raises(ValueError, match="nowhere"):
    prepare(sources, str(folders / "out"), PrepareOptions())
  assert not (folders / "out").exists()


def test_a_file_is_all_of_a_source_of_one_part_and_one_split_of_others(folders):
  path = folders / "crowd-transcribe/data/train-00001-of-00002.parquet"
  renamed = path.rename(path.with_name("test.parquet"))
  (done,) = prepare([(hebrew.SOURCES[0], str(renamed))], str(folders / "out"), PrepareOptions())
  assert done.summary.read == 20
  fleurs = next(source for source in arabic.SOURCES if source.name == "fleurs")
  with pytest.raises(ValueError, match="split 'train'"):
    prepare([(fleurs, str(renamed))], str(folders / "out"), PrepareOptions())


def test_lines_for_an_experiment(folders):
  done = run(folders)
  assert mixture_lines(done) == "\n".join(
    ["mixture:", *(f"  - {{name: {name}, data_dir: {folders}/out/{name}}}" for name in NAMES)]
  )
  assert mixture_lines(done[:1]) == f"data_dir: {folders}/out/crowd-transcribe"


def test_choosing_sources():
  chosen = choose(hebrew.SOURCES, {"crowd-recital": "x"}, ())
  assert [(source.name, place) for source, place in chosen] == [(NAMES[0], ""), (NAMES[1], "x")]
  assert [source.name for source, _ in choose(arabic.SOURCES, {}, ["mgb2"])] == ["mgb2"]
  with pytest.raises(ValueError, match="'mgb3' is no source"):
    choose(arabic.SOURCES, {}, ["mgb3"])
