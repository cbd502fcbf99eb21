import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from orchestration import queued_resource
from orchestration.gcloud import GcloudError
from orchestration.queued_resource import QueuedResource, QueuedResourceError

STANDIN = Path(__file__).parents[2] / "standins" / "queued_resources.py"
UNAVAILABLE = {"text": "UNAVAILABLE: The service is currently unavailable."}
QUOTA = {
  "text": "RESOURCE_EXHAUSTED: Quota limit 'TPUV4PodPerProjectPerZoneForTPUAPI' has been exceeded. "
  "Limit: 0 in zone us-central2-b."
}
RATE = {
  "text": "RESOURCE_EXHAUSTED: Quota exceeded for quota metric 'Write requests' and limit "
  "'Write requests per minute' of service 'tpu.googleapis.com'."
}
DENIED = {"text": "PERMISSION_DENIED: Permission 'tpu.queuedResources.create' denied."}
QUICK = {"poll_seconds": 0.01, "call_timeout": 30.0}


class Cloud:
  """The stand-in's state, as tests set and read it."""

  def __init__(self, root: Path) -> None:
    self.root = root

  def does(self, **settings) -> None:
    (self.root / "queued_resources.json").write_text(json.dumps(settings))

  def calls(self, action: str) -> list[list[str]]:
    calls = [json.loads(line) for line in (self.root / "calls").read_text().splitlines()]
    return [call for call in calls if action in " ".join(call)]

  def actions(self) -> list[str]:
    calls = [json.loads(line) for line in (self.root / "calls").read_text().splitlines()]
    words = ([word for word in call if not word.startswith("--")] for call in calls)
    return [" ".join(call[-3:]) for call in words if "describe" not in call]

  def resources(self) -> list[str]:
    return sorted(file.stem for file in self.root.glob("queued_resources/*"))

  def nodes(self) -> list[str]:
    return sorted(file.stem for file in self.root.glob("nodes/*"))

  def add_node(self, name: str, owner: str, state: str = "READY") -> None:
    (self.root / "nodes").mkdir(exist_ok=True)
    resource = f"projects/p/locations/z/queuedResources/{owner}"
    (self.root / "nodes" / f"{name}.json").write_text(
      json.dumps({"state": state, "queuedResource": resource} if owner else {"state": state})
    )


@pytest.fixture
def cloud(tmp_path, monkeypatch) -> Cloud:
  programs = tmp_path / "bin"
  programs.mkdir()
  (programs / "gcloud").write_text(f'#!/bin/sh\nexec "{sys.executable}" -ISE "{STANDIN}" "$@"\n')
  (programs / "gcloud").chmod(0o755)
  monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
  monkeypatch.setenv("STANDINS", str(tmp_path / "cloud"))
  monkeypatch.setenv("MULTIHOST_BACKOFF", "0.01")
  (tmp_path / "cloud").mkdir()
  return Cloud(tmp_path / "cloud")


def slice_of(name: str = "qr", **options) -> QueuedResource:
  return QueuedResource(name, "p", "z", **{**QUICK, **options})


def request(**options) -> QueuedResource:
  resource = slice_of()
  resource.create("v4-32", "tpu-ubuntu2204-base", **options)
  return resource


def test_a_slice_goes_from_request_to_ready_to_gone(cloud):
  resource = slice_of()
  assert resource.state() == "absent"
  resource.create("v4-32", "tpu-ubuntu2204-base", spot=True)
  resource.wait()
  assert resource.nodes()["qr"].ready
  resource.delete()
  assert (cloud.resources(), cloud.nodes(), resource.state()) == ([], [], "absent")
  resource.delete()


@pytest.mark.parametrize(
  ("options", "flags"),
  [
    ({}, ["--node-id=qr"]),
    ({"node_id": "pod"}, ["--node-id=pod"]),
    ({"node_count": 2}, ["--node-count=2", "--node-prefix=qr"]),
    ({"node_count": 2, "node_prefix": "pod"}, ["--node-count=2", "--node-prefix=pod"]),
    ({"reserved": True}, ["--node-id=qr", "--reserved"]),
    (
      {
        "valid_until_secs": 60,
        "metadata_from_file": "startup-script=a b",
        "extra": ["--best-effort"],
      },
      [
        *("--node-id=qr", "--valid-until-duration=60s"),
        *("--metadata-from-file=startup-script=a b", "--best-effort"),
      ],
    ),
  ],
)
def test_options_become_flags_of_gcloud(options, flags):
  command = slice_of().create_command("v4-32", "base", **options)
  assert command == [
    *("alpha", "compute", "tpus", "queued-resources", "create", "qr", "--project=p", "--zone=z"),
    *("--accelerator-type=v4-32", "--runtime-version=base", *flags),
  ]


def test_a_slice_is_spot_or_reserved():
  with pytest.raises(ValueError, match="either spot or reserved"):
    slice_of().create_command("v4-32", "base", spot=True, reserved=True)


@pytest.mark.parametrize("fault", [UNAVAILABLE, RATE])
def test_creating_outlasts_failures_that_pass(cloud, fault):
  cloud.does(faults={"queued-resources create": [fault, fault]})
  request().wait()
  assert len(cloud.calls("create")) == 3


@pytest.mark.parametrize(("fault", "text"), [(QUOTA, "Quota limit"), (DENIED, "denied")])
def test_creating_ends_at_once_when_it_is_refused(cloud, fault, text):
  cloud.does(faults={"queued-resources create": [fault]})
  with pytest.raises(GcloudError, match=text):
    request()
  assert len(cloud.calls("create")) == 1


def test_creating_gives_up_in_the_end(cloud):
  cloud.does(faults={"queued-resources create": [UNAVAILABLE] * 9})
  with pytest.raises(GcloudError, match="currently unavailable"):
    request()
  assert len(cloud.calls("create")) == 5


@pytest.mark.parametrize("hidden", [0, 1])
def test_a_request_that_went_through_without_an_answer_counts(cloud, hidden):
  fault = {**UNAVAILABLE, "after": True, "hidden": hidden}
  cloud.does(faults={"queued-resources create": [fault]})
  request().wait()
  assert len(cloud.calls("create")) == 1 + hidden
  assert cloud.resources() == ["qr"]


def test_a_call_that_hangs_is_ended_and_made_again(cloud):
  cloud.does(faults={"queued-resources create": [{"hang": 600}]})
  slice_of(call_timeout=1.0).create("v4-32", "base")
  assert len(cloud.calls("create")) == 2


@pytest.mark.parametrize(
  ("states", "remedy"), [(["ACTIVE"], "take another name"), (["SUSPENDED"], "delete it first")]
)
def test_a_name_that_is_taken_is_refused(cloud, states, remedy):
  cloud.does(states=states)
  request()
  with pytest.raises(QueuedResourceError, match=f"qr exists, {states[0]}: .*{remedy}"):
    request()
  assert len(cloud.calls("create")) == 1


def test_waiting_says_state_and_time(cloud, capsys):
  cloud.does(states=["ACCEPTED", "WAITING_FOR_RESOURCES", "WAITING_FOR_RESOURCES", "ACTIVE"])
  request().wait(queue_timeout=3600)
  lines = capsys.readouterr().err.splitlines()
  assert "qr: WAITING_FOR_RESOURCES, 0 of at most 3600 s" in lines
  assert lines[-1] == "qr: ACTIVE; qr READY, HEALTHY"


@pytest.mark.parametrize(
  ("states", "settings", "text"),
  [
    (["FAILED"], {"reason": "no more capacity"}, r"FAILED \(no more capacity\); delete it"),
    (["PROVISIONING", "SUSPENDED"], {}, "SUSPENDED; delete it"),
    (["SUSPENDING"], {}, "SUSPENDING; delete it"),
    (["ACTIVE"], {"nodes": {"qr": "PREEMPTED"}}, "qr was lost; delete it"),
  ],
)
def test_waiting_ends_when_the_slice_cannot_come(cloud, states, settings, text):
  cloud.does(states=states, **settings)
  with pytest.raises(QueuedResourceError, match=text):
    request().wait()


def test_waiting_for_what_was_deleted_ends(cloud):
  with pytest.raises(QueuedResourceError, match="absent: it was deleted, or never created"):
    slice_of().wait()


def test_waiting_outlasts_a_service_that_is_down(cloud):
  cloud.does(faults={"queued-resources describe": [UNAVAILABLE] * 12})
  resource = slice_of()
  with pytest.raises(GcloudError):
    resource.state()
  cloud.does(faults={"queued-resources create": []})
  resource.create("v4-32", "base")
  cloud.does(faults={"queued-resources describe": [UNAVAILABLE] * 7})
  resource.wait()


@pytest.mark.parametrize(
  ("state", "limits", "where"),
  [
    ("WAITING_FOR_RESOURCES", {"queue_timeout": 0.1, "boot_timeout": 600}, "in the queue"),
    ("PROVISIONING", {"queue_timeout": 600, "boot_timeout": 0.1}, "starting its machines"),
  ],
)
def test_the_queue_and_the_machines_have_limits_of_their_own(cloud, state, limits, where):
  cloud.does(states=[state])
  with pytest.raises(QueuedResourceError, match=rf"was {state} after 0\.1 s {where}; it may still"):
    request().wait(**limits)
  assert cloud.resources() == ["qr"]


def test_giving_up_cancels_the_request(cloud):
  cloud.does(states=["WAITING_FOR_RESOURCES"])
  with pytest.raises(QueuedResourceError, match="it was deleted"):
    request().wait(queue_timeout=0.1, cancel_on_timeout=True)
  assert cloud.resources() == []


def test_a_slice_that_works_is_kept_when_its_state_lags(cloud):
  cloud.does(states=["PROVISIONING"])
  resource = request()
  cloud.add_node("qr", "qr")
  resource.wait(boot_timeout=0.1, cancel_on_timeout=True)
  assert (cloud.resources(), cloud.nodes()) == (["qr"], ["qr"])


def test_a_preempted_node_is_deleted_before_its_queued_resource(cloud):
  cloud.does(states=["ACTIVE", "SUSPENDED"])
  resource = request()
  resource.wait()
  cloud.add_node("qr", "qr", "PREEMPTED")
  resource.delete()
  assert cloud.actions()[1:] == ["tpu-vm delete qr", "queued-resources delete qr"]
  assert (cloud.resources(), cloud.nodes()) == ([], [])


def test_a_node_of_somebody_else_is_kept(cloud):
  cloud.does(states=["FAILED"])
  resource = request()
  cloud.add_node("qr", "other", "PREEMPTED")
  resource.delete()
  assert "tpu-vm delete qr" not in cloud.actions()


def test_deleting_outlasts_failures_that_pass(cloud):
  request()
  busy = {"text": "FAILED_PRECONDITION: Cannot delete a queued resource while it is SUSPENDING."}
  cloud.does(faults={"queued-resources delete": [UNAVAILABLE, busy]})
  slice_of().delete()
  assert cloud.resources() == []


def test_deleting_says_when_it_is_not_gone(cloud):
  cloud.does(faults={"queued-resources delete": [UNAVAILABLE] * 99})
  resource = request()
  with pytest.raises(QueuedResourceError, match=r"0\.1 s after its deletion was asked for"):
    resource.delete(timeout=0.1)


def test_deleting_without_force_keeps_nodes(cloud):
  cloud.does(states=["ACTIVE"])
  resource = request()
  with pytest.raises(QueuedResourceError, match="has nodes: delete it with force"):
    resource.delete(force=False)
  assert cloud.nodes() == ["qr"]


def run(*arguments: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, queued_resource.__file__, *arguments],
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )


def test_the_command_line_does_the_same(cloud):
  place = ("--PROJECT=p", "--ZONE=z")
  assert run("create", "qr", *place, "--SPOT=true").returncode == 0
  assert run("create", "qr", *place, "--SPOT=true").returncode == 0
  assert len(cloud.calls("create")) == 1
  assert run("wait", "qr", *place, "--POLL_SECS=0.01").returncode == 0
  described = run("describe", "qr", *place)
  assert (described.returncode, described.stdout) == (0, "qr ACTIVE\nqr READY, HEALTHY\n")
  other = run("create", "qr", *place, "--ACCELERATOR_TYPE=v4-8")
  assert (other.returncode, "take another name" in other.stderr) == (1, True)
  assert run("delete", "qr", *place).returncode == 0
  assert run("describe", "qr", *place).returncode == 1
  assert run("wait", "qr", *place).returncode == 1


def test_the_command_line_shows_what_it_would_do(cloud):
  shown = run(
    "create", "qr", "--PROJECT=p", "--ZONE=z", "--EXTRA_ARGS=--labels=a='b c'", "--DRY_RUN"
  )
  assert shown.stdout == (
    "gcloud alpha compute tpus queued-resources create qr --project=p --zone=z "
    "--accelerator-type=v4-32 --runtime-version=tpu-ubuntu2204-base --node-id=qr "
    "'--labels=a=b c'\n"
  )
  assert not (cloud.root / "calls").exists()
