"""Beam engine: the conversion of conversion/convert.py on the machines of an Apache Beam runner.

The pipeline has one step: `run_shard` for each job, on any worker, possibly more than once. All
else is done here, before and after. A job stores its result beside its shards, and a worker that
was wrongly declared lost cannot undo what its replacement wrote.
"""

import contextlib
import importlib.util
import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from maxtext_ext.conversion.finish import finish
from maxtext_ext.conversion.jobs import plan_conversion
from maxtext_ext.conversion.options import ConvertOptions, ConvertSummary
from maxtext_ext.conversion.shard_job import ShardJob, run_shard, stored_result
from maxtext_ext.files.connection import is_url
from maxtext_ext.files.folder_lock import sole_converter

if TYPE_CHECKING:
  from apache_beam.options.pipeline_options import PipelineOptions
  from apache_beam.runners.runner import PipelineRunner

_REQUESTS_AT_ONCE = 16
_DIRECT, _DATAFLOW = "DirectRunner", "DataflowRunner"
_THREADS = "number_of_worker_harness_threads"
_DATAFLOW_NEEDS = {
  "project": "--project=PROJECT",
  "region": "--region=us-central1",
  "temp_location": "--temp_location=gs://BUCKET/tmp",
}
# How a worker comes to have this package.
_DATAFLOW_PACKAGES = ("sdk_container_image", "extra_packages", "setup_file", "requirements_file")


def convert(
  source: str,
  out: str,
  options: ConvertOptions,
  *,
  runner: str = "DirectRunner",
  pipeline_args: Sequence[str] = (),
  tell: Callable[[str], None] | None = None,
) -> ConvertSummary:
  """Does what convert.convert does, with the same bytes; also resumes what that left unfinished.

  The share of bad records is checked when all shards are done, not before.

  Args:
    source: a file, a folder or a glob; URLs for DataflowRunner.
    out: the folder to write to, likewise.
    options: how, with `workers` left at 1.
    runner: as Beam names it.
    pipeline_args: Beam's options, as on a command line: ["--project=p", "--region=us-central1"].
    tell: called with one line about the source.

  Raises:
    ValueError: an option is wrong or missing, or Beam is; the pipeline fails; and what
      convert.convert raises.
    OSError: reading or writing fails, or another conversion of these splits writes to `out`.
  """
  if importlib.util.find_spec("apache_beam") is None:
    raise ValueError(
      "the engine beam needs apache-beam, which is not installed; pip install 'maxtext_ext[beam]'"
    )
  if options.workers > 1:
    raise ValueError(
      f"workers is {options.workers}, but a Beam runner has options of its own for that: after --, "
      "--max_num_workers=N for DataflowRunner; drop it, or convert with the local engine"
    )
  with _muted(logging.WARNING):  # of packages that it would like to have too
    pipeline_options = _read_options(runner, pipeline_args)
    pipeline_runner = _make_runner(runner)
  if runner == _DATAFLOW:
    _check_dataflow(source, out, pipeline_options)
  with sole_converter(out, options.splits):
    return _convert(source, out, options, runner, pipeline_runner, pipeline_options, tell)


def _convert(
  source: str,
  out: str,
  options: ConvertOptions,
  runner: str,
  pipeline_runner: "PipelineRunner",
  pipeline_options: "PipelineOptions",
  tell: Callable[[str], None] | None,
) -> ConvertSummary:
  plan = plan_conversion(source, out, options, tell)
  if plan.finished:
    return plan.finished
  done = {result.index for result in plan.done}
  jobs = [job for job in plan.jobs if job.index not in done]
  if runner == _DIRECT:
    # An error comes to the user in one line; Beam would print its traceback before.
    with _muted(logging.CRITICAL):
      _run_pipeline(jobs, pipeline_runner, pipeline_options)
  else:
    logging.basicConfig()
    logging.getLogger("apache_beam.runners").setLevel(logging.INFO)  # where the job can be watched
    _run_pipeline(jobs, pipeline_runner, pipeline_options)
  with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
    results = [result for result in pool.map(stored_result, jobs) if result]
  return finish(plan, [*plan.done, *results])


def _run_pipeline(
  jobs: Sequence[ShardJob], runner: "PipelineRunner", options: "PipelineOptions"
) -> None:
  import apache_beam
  from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException

  # Pickled here, since Beam guesses a coder from the fields of a dataclass.
  elements = [pickle.dumps(job) for job in jobs]
  try:
    with apache_beam.Pipeline(runner, options=options) as pipeline:
      _ = (
        pipeline
        | "jobs" >> apache_beam.Create(elements)
        | "spread" >> apache_beam.Reshuffle()
        | "convert a shard" >> apache_beam.Map(_convert_shard)
      )
  except (RuntimeError, DataflowRuntimeException) as error:
    # The text is that of a worker's traceback; the last line says what went wrong.
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[-1].strip(" '\"") if lines else type(error).__name__
    raise ValueError(f"the Beam pipeline failed: {text}") from error


def _convert_shard(job: bytes) -> int:
  """Runs on a worker."""
  from apache_beam.metrics import Metrics

  result = run_shard(pickle.loads(job))
  Metrics.counter("maxtext_ext", "records_read").inc(result.read)
  Metrics.counter("maxtext_ext", "records_quarantined").inc(result.quarantined)
  return result.index


def _read_options(runner: str, arguments: Sequence[str]) -> "PipelineOptions":
  from apache_beam.options.pipeline_options import PipelineOptions

  arguments = list(arguments)
  if runner == _DATAFLOW and not any(_THREADS in argument for argument in arguments):
    # A shard takes one core and up to 600 MB, and Dataflow starts a process for each core.
    arguments.append(f"--{_THREADS}=1")
  options = PipelineOptions(arguments)
  unknown = set(options.get_all_options(retain_unknown_options=True))
  unknown -= set(options.get_all_options())
  if unknown:
    raise ValueError(
      f"got --{min(unknown)}, expected options of Apache Beam: "
      "https://beam.apache.org/documentation/runners/dataflow/"
    )
  return options


def _check_dataflow(source: str, out: str, options: "PipelineOptions") -> None:
  for path in (source, out):
    if not is_url(path):
      raise ValueError(f"{path}: the workers of Dataflow cannot see it; expected gs://bucket/...")
  values = options.get_all_options()
  missing = [example for name, example in _DATAFLOW_NEEDS.items() if not values[name]]
  if missing:
    raise ValueError(f"Dataflow needs {' '.join(missing)} after --")
  if not any(values[name] for name in _DATAFLOW_PACKAGES):
    raise ValueError(
      "the workers of Dataflow have no maxtext_ext: name an image with maxtext_ext[beam,gcs] "
      "after --, --sdk_container_image=IMAGE, or a wheel, --extra_package=dist/maxtext_ext-...whl"
    )
  if importlib.util.find_spec("apitools") is None:
    raise ValueError("Dataflow needs more of Apache Beam; pip install 'apache-beam[gcp]'")


def _make_runner(name: str) -> "PipelineRunner":
  from apache_beam.runners.portability.fn_api_runner import FnApiRunner
  from apache_beam.runners.runner import create_runner

  # Beam's class of this name first asks the network for the program of another runner.
  return FnApiRunner() if name == _DIRECT else create_runner(name)


@contextlib.contextmanager
def _muted(level: int) -> Iterator[None]:
  """Suppresses log lines of this level or below."""
  before = logging.root.manager.disable
  logging.disable(level)
  try:
    yield
  finally:
    logging.disable(before)
