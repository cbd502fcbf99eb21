"""Startup script of a job: the worker's program and the job, in one text for the metadata."""

from __future__ import annotations

import base64
import io
import shlex
import tempfile
import zipfile
from pathlib import Path

from orchestration.job_state import Job
from orchestration.queued_resource import QueuedResource

MODULES = (
  *("__init__", "agent", "bucket", "console", "gcloud"),
  *("job_machine", "job_state", "job_worker", "task"),
)
LIMIT = 256 * 1024  # bytes of one value of the metadata

_MAIN = """\
import pathlib, sys
from orchestration.job_state import Job
from orchestration.job_worker import main
sys.exit(main(Job.from_json(pathlib.Path(sys.argv[1]).read_text())))
"""

_SCRIPT = """\
#!/bin/bash
# multihost_job of maxtext_ext: runs at every boot, and goes on where the last one was.
export HOME="${{HOME:-/root}}"
export PATH="$PATH:/snap/bin"
ulimit -n 100000 2>/dev/null
mkdir -p {run_name} && cd {run_name} || exit 1
cat >multihost_job.json <<'JOB'
{job}
JOB
base64 -d >"multihost_job.$$.pyz" <<'PROGRAM' || exit 1
{program}
PROGRAM
mv "multihost_job.$$.pyz" multihost_job.pyz
exec python3 multihost_job.pyz multihost_job.json
"""


def startup_script(job: Job) -> str:
  """Returns the startup script of the job's machines.

  Raises:
    ValueError: it is too long for the metadata.
  """
  folder = Path(__file__).resolve().parent
  program = io.BytesIO()
  with zipfile.ZipFile(program, "w", zipfile.ZIP_DEFLATED) as archive:
    for module in MODULES:
      archive.writestr(f"orchestration/{module}.py", (folder / f"{module}.py").read_bytes())
    archive.writestr("__main__.py", _MAIN)
  text = _SCRIPT.format(
    run_name=shlex.quote(job.run_name),
    job=job.to_json(),
    program=base64.encodebytes(program.getvalue()).decode().strip(),
  )
  if len(text) > LIMIT:
    raise ValueError(
      f"the startup script has {len(text)} bytes, over {LIMIT}: put a long --COMMAND into a script"
    )
  return text


def request_slices(job: Job, resource: QueuedResource) -> None:
  """Requests the machines of a job, with its startup script."""
  with tempfile.TemporaryDirectory() as folder:
    script = Path(folder) / "startup_script.sh"
    script.write_text(startup_script(job), encoding="utf-8")
    resource.create(
      job.tpu_type,
      job.version,
      node_count=job.slices,
      metadata_from_file=f"startup-script={script}",
      valid_until_secs=job.queue_seconds,
      extra=job.extra,
    )
