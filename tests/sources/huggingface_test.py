import json
import os
import subprocess
import sys

import hub_server
import pytest

from maxtext_ext.sources.huggingface import DatasetSource, find_files

TRAIN = [f"data/train-0000{index}-of-00003.parquet" for index in range(3)]
TEST = "data/test-00000-of-00001.parquet"
FILES = {name: f"PAR1{name}".encode() * 500 for name in [*TRAIN, TEST]}
README = b"---\nlanguage: he\n---\nHebrew clips\n"
CONVERTED = {"ar_eg/train/0000.parquet": b"PAR1 arabic", "he_il/train/0000.parquet": b"PAR1 hebrew"}

# What the library reads from the environment it reads when it is imported: a process for each call.
PROGRAM = """
import json, sys
from maxtext_ext.sources.huggingface import find_files
calls = []
try:
  paths = find_files(sys.argv[1], progress=lambda *call: calls.append(call))
except ValueError as error:
  print(json.dumps({"error": str(error)}))
else:
  print(json.dumps({"paths": paths, "calls": calls}))
"""


@pytest.fixture
def hub():
  with hub_server.serve() as server:
    yield server


def run(hub, home, program, *args, **environment):
  process = subprocess.run(
    [sys.executable, "-c", program, *args],
    capture_output=True,
    timeout=600,
    cwd=home,
    env={
      **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
      "PYTHONPATH": os.getcwd(),
      "HF_ENDPOINT": hub.url,
      "HF_HOME": str(home),
      **environment,
    },
  )
  assert not process.returncode, process.stderr.decode()
  return process.stdout


def ask(hub, home, source, **environment):
  return json.loads(run(hub, home, PROGRAM, source, **environment))


def read(paths):
  return [open(path, "rb").read() for path in paths]


@pytest.mark.integration_test
def test_files_of_a_split_are_downloaded_once_and_known_offline(hub, tmp_path):
  hub.repos["org/clips"] = hub_server.Repo(
    revisions={"main": {**FILES, "README.md": README, "notes.txt": b"x"}}
  )

  first = ask(hub, tmp_path, "org/clips")
  assert read(first["paths"]) == [FILES[name] for name in TRAIN]
  assert first["calls"] == [*([done, 3, name] for done, name in enumerate(TRAIN)), [3, 3, ""]]
  assert len(hub.downloads()) == 3  # nothing of the test split

  assert ask(hub, tmp_path, "org/clips")["paths"] == first["paths"]
  assert len(hub.downloads()) == 3

  asked = len(hub.requests)
  assert ask(hub, tmp_path, "org/clips", HF_HUB_OFFLINE="1")["paths"] == first["paths"]
  assert "split 'test'" in ask(hub, tmp_path, "org/clips#test", HF_HUB_OFFLINE="1")["error"]
  error = ask(hub, tmp_path, "org/other", HF_HUB_OFFLINE="1")["error"]
  assert "HF_HUB_OFFLINE" in error
  assert len(hub.requests) == asked


@pytest.mark.integration_test
def test_a_download_that_broke_off_goes_on_where_it_stopped(hub, tmp_path):
  large = {TEST: os.urandom(25 << 20)}  # the client keeps whole blocks of 10 MB
  hub.repos["org/clips"] = hub_server.Repo(revisions={"main": large})
  hub.break_after = [24 << 20]
  (path,) = ask(hub, tmp_path, "org/clips#test")["paths"]
  assert read([path]) == [large[TEST]]
  ranges = [line.rpartition(" ")[2] for line in hub.downloads() if "bytes=" in line]
  assert len(ranges) == 1
  assert int(ranges[0].removeprefix("bytes=").removesuffix("-")) > 0


@pytest.mark.integration_test
def test_files_can_be_read_from_afar(hub, tmp_path):
  hub.repos["org/clips"] = hub_server.Repo(revisions={"main": FILES})
  paths = ask(hub, tmp_path, "hf://datasets/org/clips")["paths"]
  assert paths == [f"hf://datasets/org/clips/{name}" for name in TRAIN]
  assert not hub.downloads()
  program = (
    "import sys; from maxtext_ext.files import storage; file = storage.open_read(sys.argv[1]);"
    "file.seek(-40, 2); sys.stdout.buffer.write(file.read())"
  )
  tail = run(hub, tmp_path, program, paths[1])
  assert tail == FILES[TRAIN[1]][-40:]


@pytest.mark.integration_test
def test_data_sets_of_other_forms_come_from_the_hub_s_conversion(hub, tmp_path):
  hub.repos["org/flowers"] = hub_server.Repo(
    revisions={"main": {"flowers.py": b"script"}, "refs/convert/parquet": CONVERTED}
  )
  (path,) = ask(hub, tmp_path, "org/flowers:ar_eg")["paths"]
  assert read([path]) == [b"PAR1 arabic"]
  assert ask(hub, tmp_path, "org/flowers:ar_eg", HF_HUB_OFFLINE="1")["paths"] == [path]
  assert "['ar_eg', 'he_il']" in ask(hub, tmp_path, "org/flowers")["error"]
  assert len(ask(hub, tmp_path, "org/flowers:*")["paths"]) == 2


@pytest.mark.integration_test
def test_the_card_says_what_belongs_to_a_split(hub, tmp_path):
  hub.repos["org/clips"] = hub_server.Repo(
    revisions={"main": {**FILES, "README.md": README}},
    card={
      "configs": [
        {"config_name": "default", "data_files": [{"split": "train", "path": "data/test-*"}]}
      ]
    },
  )
  (path,) = ask(hub, tmp_path, "org/clips")["paths"]
  assert path.endswith(TEST)


@pytest.mark.integration_test
def test_a_restricted_data_set_needs_the_token(hub, tmp_path):
  hub.repos["org/clips"] = hub_server.Repo(revisions={"main": FILES}, token="hf_secret")
  assert "HF_TOKEN" in ask(hub, tmp_path, "org/clips")["error"]
  assert len(ask(hub, tmp_path, "org/clips", HF_TOKEN="hf_secret")["paths"]) == 3


@pytest.mark.integration_test
@pytest.mark.parametrize(
  ("source", "said"),
  [
    ("org/nothing", ["org/nothing", "check the id"]),
    ("org/clips@v9", ["org/clips", "check the id"]),
    ("org/clips#validation", ["4 parquet files", "split 'validation'"]),
    ("org/broken", ["2 of 3 parquet files", "number 1"]),
  ],
)
def test_what_is_not_there_is_said(hub, tmp_path, source, said):
  hub.repos["org/clips"] = hub_server.Repo(revisions={"main": FILES})
  hub.repos["org/broken"] = hub_server.Repo(
    revisions={"main": dict.fromkeys((TRAIN[0], TRAIN[2]), b"")}
  )
  error = ask(hub, tmp_path, source)["error"]
  assert all(part in error for part in said), error


@pytest.mark.integration_test
def test_no_network_is_one_clear_line(hub, tmp_path):
  error = ask(hub, tmp_path, "org/clips", HF_ENDPOINT="http://127.0.0.1:9")["error"]
  assert "http://127.0.0.1:9" in error
  assert "\n" not in error


@pytest.mark.parametrize(
  ("source", "expected"),
  [
    ("google/fleurs", DatasetSource(base="google/fleurs")),
    ("google/fleurs:ar_eg", DatasetSource(base="google/fleurs", config="ar_eg")),
    ("google/fleurs#test", DatasetSource(base="google/fleurs", split="test")),
    ("a/b@main:*#dev", DatasetSource(base="a/b@main", config="*", split="dev")),
    ("a/b@refs/convert/parquet", DatasetSource(base="a/b@refs/convert/parquet")),
    ("gs://bucket/set", DatasetSource(base="gs://bucket/set")),
    ("gs://bucket/set:ar#test", DatasetSource(base="gs://bucket/set", config="ar", split="test")),
    ("/data/set:ar", DatasetSource(base="/data/set", config="ar")),
  ],
)
def test_sources(source, expected):
  assert DatasetSource.parse(source) == expected
  assert DatasetSource.parse(str(expected)) == expected


@pytest.mark.parametrize("source", ["clips", "/data/clips", "./a/b", "a/b/c", "a/b:", "a b/c", "#"])
def test_what_is_no_id_and_not_there(source):
  with pytest.raises(ValueError, match="nothing is there"):
    find_files(source)


class TestFolders:
  @pytest.fixture
  def folder(self, tmp_path):
    for name in [*FILES, "README.md"]:
      path = tmp_path / "set" / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(b"PAR1")
    return str(tmp_path / "set")

  def test_a_folder_is_laid_out_as_on_the_hub(self, folder):
    assert find_files(folder) == [f"{folder}/{name}" for name in TRAIN]
    assert find_files(folder + "/#test") == [f"{folder}/{TEST}"]

  def test_files_and_globs_are_taken_as_they_are(self, folder):
    assert find_files(f"{folder}/{TEST}") == [f"{folder}/{TEST}"]
    assert find_files(f"{folder}/data/*.parquet") == [f"{folder}/{name}" for name in sorted(FILES)]

  def test_of_a_glob_a_split_can_be_chosen(self, folder):
    everything = f"{folder}/*/*.parquet"
    assert find_files(f"{everything}#test") == [f"{folder}/{TEST}"]
    assert find_files(f"{everything}#train") == [f"{folder}/{name}" for name in TRAIN]
    assert find_files(f"{folder}/{TEST}#test") == [f"{folder}/{TEST}"]
    with pytest.raises(ValueError, match="split 'train'"):
      find_files(f"{folder}/{TEST}#train")

  def test_its_card_counts(self, folder):
    with open(f"{folder}/README.md", "w") as file:
      file.write(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        "  - split: train\n    path: data/test-*\n---\n"
      )
    assert find_files(folder) == [f"{folder}/{TEST}"]

  def test_a_broken_card_does_not(self, folder):
    with open(f"{folder}/README.md", "wb") as file:
      file.write(b"---\nconfigs: [\xff\n---\n")
    assert len(find_files(folder)) == 3
