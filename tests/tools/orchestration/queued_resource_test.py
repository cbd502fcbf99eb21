import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from orchestration import queued_resource
from orchestration.gcloud import GcloudError
from orchestration.queued_resource import QueuedResource, QueuedResourceError, SliceLost
from standins.cloud import VARIABLE, Cloud
from standins.gcloud_queued_resources import plan

STANDINS = Path(__file__).parents[2] / "standins"
UNAVAILABLE = "UNAVAILABLE: The service is currently unavailable."
QUOTA = (
  "RESOURCE_EXHAUSTED: Quota limit 'TPUV4PodPerProjectPerZoneForTPUAPI' has been exceeded. "
  "Limit: 0 in zone us-central2-b."
)
RATE = (
  "RESOURCE_EXHAUSTED: Quota exceeded for quota metric 'Write requests' and limit "
  "'Write requests per minute' of service 'tpu.googleapis.com'."
)
DENIED = "PERMISSION_DENIED: Permission 'tpu.queuedResources.create' denied."
QUICK = {"poll_seconds": 0.01, "call_timeout": 30.0}


class Slices(Cloud):
  """The stand-in, as these tests look at it."""

  def fails(self, verb: str, text: str, times: int = 1, **more) -> None:
    self.add_fault(f"queued-resources {verb}", "fail", text=f"ERROR: {text}", times=times, **more)

  def changes(self) -> list[str]:
    """Returns the calls that change something: group, verb and name."""
    words = ([word for word in call if not word.startswith("--")] for call in self.calls())
    return [" ".join(call[-3:]) for call in words if "describe" not in call]

  def count(self, verb: str) -> int:
    return len([change for change in self.changes() if f" {verb} " in change])

  def left(self) -> tuple[list[str], list[str]]:
    with self.state() as state:
      return sorted(state["queued"]), sorted(state["nodes"])

  def add_node(self, name: str, owner: str, state: str = "READY") -> None:
    resource = f"projects/p/locations/z/queuedResources/{owner}"
    self.add_slice(name, workers=1, queuedResource=resource)
    with self.state() as everything:
      everything["nodes"][name]["state"] = state


@pytest.fixture
def cloud(tmp_path, monkeypatch) -> Slices:
  monkeypatch.setenv("PATH", f"{STANDINS}:{os.environ['PATH']}")
  monkeypatch.setenv(VARIABLE, str(tmp_path / "cloud"))
  monkeypatch.setenv("MULTIHOST_BACKOFF", "0.01")
  return Slices(tmp_path / "cloud")


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
  assert (cloud.left(), resource.state()) == (([], []), "absent")
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


def test_creating_outlasts_failures_that_pass(cloud):
  cloud.fails("create", UNAVAILABLE)
  cloud.fails("create", RATE)
  request().wait()
  assert cloud.count("create") == 3


@pytest.mark.parametrize(("fault", "text"), [(QUOTA, "Quota limit"), (DENIED, "denied")])
def test_creating_ends_at_once_when_it_is_refused(cloud, fault, text):
  cloud.fails("create", fault)
  with pytest.raises(GcloudError, match=text):
    request()
  assert cloud.count("create") == 1


def test_creating_gives_up_in_the_end(cloud):
  cloud.fails("create", UNAVAILABLE, times=9)
  with pytest.raises(GcloudError, match="currently unavailable"):
    request()
  assert cloud.count("create") == 5


@pytest.mark.parametrize("hidden", [0, 1, 3])
def test_a_request_that_went_through_without_an_answer_counts(cloud, hidden):
  cloud.fails("create", UNAVAILABLE, after=True, hidden=hidden)
  request().wait()
  assert cloud.count("create") == (2 if hidden else 1)
  assert cloud.left()[0] == ["qr"]


def test_a_call_that_hangs_is_ended_and_made_again(cloud):
  cloud.add_fault("queued-resources create", "hang")
  slice_of(call_timeout=1.0).create("v4-32", "base")
  assert cloud.count("create") == 2


@pytest.mark.parametrize(
  ("states", "remedy"), [(["ACTIVE"], "take another name"), (["SUSPENDED"], "delete it first")]
)
def test_a_name_that_is_taken_is_refused(cloud, states, remedy):
  plan(cloud, states=states)
  request()
  with pytest.raises(QueuedResourceError, match=f"qr exists, {states[0]}: .*{remedy}"):
    request()
  assert cloud.count("create") == 1


def test_waiting_says_state_and_time(cloud, capsys):
  plan(cloud, states=["ACCEPTED", "WAITING_FOR_RESOURCES", "WAITING_FOR_RESOURCES", "ACTIVE"])
  request().wait(queue_timeout=3600)
  lines = capsys.readouterr().err.splitlines()
  assert any(
    re.fullmatch(r"qr: WAITING_FOR_RESOURCES, [0-9.e-]+ s of at most 60 min", line)
    for line in lines
  )
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
  plan(cloud, states=states, **settings)
  with pytest.raises(QueuedResourceError, match=text):
    request().wait()


@pytest.mark.parametrize("loss", ["preempted", "node gone", "suspended"])
def test_a_slice_that_was_taken_away_is_told_from_one_that_was_deleted(cloud, loss):
  plan(cloud, states=["ACTIVE"])
  resource = request()
  resource.wait()
  resource.check()
  with cloud.state() as state:
    if loss == "preempted":
      state["nodes"]["qr"]["state"] = "PREEMPTED"
    elif loss == "node gone":
      del state["nodes"]["qr"]
    else:
      state["queued"]["qr"]["state"] = "SUSPENDED"
  with pytest.raises(SliceLost):
    resource.check()
  resource.delete()
  with pytest.raises(QueuedResourceError) as raised:
    resource.check()
  assert not isinstance(raised.value, SliceLost)


def test_waiting_for_what_was_deleted_ends(cloud):
  with pytest.raises(QueuedResourceError, match="absent: it was deleted, or never created"):
    slice_of().wait()


def test_waiting_outlasts_a_service_that_is_down(cloud):
  resource = request()
  cloud.fails("describe", UNAVAILABLE, times=7)
  resource.wait()


@pytest.mark.parametrize(
  ("state", "limits", "where"),
  [
    ("WAITING_FOR_RESOURCES", {"queue_timeout": 0.1, "boot_timeout": 600}, "in the queue"),
    ("PROVISIONING", {"queue_timeout": 600, "boot_timeout": 0.1}, "starting its machines"),
  ],
)
def test_the_queue_and_the_machines_have_limits_of_their_own(cloud, state, limits, where):
  plan(cloud, states=[state])
  with pytest.raises(QueuedResourceError, match=rf"was {state} after 0\.1 s {where}; it may still"):
    request().wait(**limits)
  assert cloud.left()[0] == ["qr"]


def test_giving_up_cancels_the_request(cloud):
  plan(cloud, states=["WAITING_FOR_RESOURCES"])
  with pytest.raises(QueuedResourceError, match="it was deleted"):
    request().wait(queue_timeout=0.1, cancel_on_timeout=True)
  assert cloud.left()[0] == []


def test_a_slice_that_works_is_kept_when_its_state_lags(cloud):
  plan(cloud, states=["PROVISIONING"])
  resource = request()
  cloud.add_node("qr", "qr")
  resource.wait(boot_timeout=0.1, cancel_on_timeout=True)
  assert cloud.left() == (["qr"], ["qr"])


def test_a_preempted_node_is_deleted_before_its_queued_resource(cloud):
  plan(cloud, states=["ACTIVE"])
  resource = request()
  resource.wait()
  cloud.preempt("qr")
  resource.delete()
  assert cloud.changes()[1:] == ["tpu-vm delete qr", "queued-resources delete qr"]
  assert cloud.left() == ([], [])


def test_a_preempted_node_that_outlived_its_queued_resource_is_deleted(cloud):
  cloud.add_node("qr", "qr", "PREEMPTED")
  slice_of().delete()
  assert cloud.left() == ([], [])


def test_a_node_of_somebody_else_is_kept(cloud):
  plan(cloud, states=["FAILED"])
  resource = request()
  cloud.add_node("qr", "other", "PREEMPTED")
  resource.delete()
  assert "tpu-vm delete qr" not in cloud.changes()


def test_deleting_outlasts_failures_that_pass(cloud):
  request()
  cloud.fails("delete", UNAVAILABLE)
  cloud.fails("delete", "FAILED_PRECONDITION: Cannot delete it while it is SUSPENDING.")
  slice_of().delete()
  assert cloud.left()[0] == []


def test_deleting_says_when_it_is_not_gone(cloud):
  cloud.fails("delete", UNAVAILABLE, times=99)
  resource = request()
  with pytest.raises(QueuedResourceError, match=r"0\.1 s after its deletion was asked for"):
    resource.delete(timeout=0.1)


def test_deleting_without_force_keeps_nodes(cloud):
  plan(cloud, states=["ACTIVE"])
  resource = request()
  with pytest.raises(QueuedResourceError, match="has nodes: delete it with force"):
    resource.delete(force=False)
  assert cloud.left()[1] == ["qr"]


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
  assert cloud.count("create") == 1
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
  assert cloud.calls() == []
