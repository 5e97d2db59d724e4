"""A disk that is full, and one that cannot be written: real ones, mounted where only the test sees them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.run.experiments import COMPAT, Workplace

MOUNT = "mount -t tmpfs -o size={size} none .compat"
ALONE = ["unshare", "--map-root-user", "--mount", "bash", "-c"]
"""A shell whose mounts nobody else sees, and that go with it."""


def may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*ALONE, "mount -t tmpfs none /mnt"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not may_mount(), reason="NOT TESTED: a full disk; this user may not mount a small one")


def on_a_disk_of(size: str, place: Workplace, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the shell in the folder of a place, with the store on a disk of this size."""
    place.spec  # noqa: B018  (written on first use)
    (place.folder / ".compat").mkdir()
    whole = f"set -u; C='{COMPAT}'; {MOUNT.format(size=size)}\n{script}"
    return subprocess.run([*ALONE, whole], cwd=place.folder, capture_output=True, text=True, check=False, timeout=300)


def test_a_full_disk_fails_what_cannot_be_written_and_the_next_run_goes_on(place: Workplace) -> None:
    ended = on_a_disk_of(
        "300k",
        place,
        "$C run tiny.yaml -q; echo $?\n"
        "mount -o remount,size=30m .compat\n"
        "$C run tiny.yaml | grep Computed; $C cache verify",
    )
    status, computed, verified = ended.stdout.splitlines()
    assert status == "1"
    failures = ended.stderr.splitlines()
    assert failures
    for line in failures:
        assert line.startswith("failed: ")
        assert "the store .compat cannot be written: No space left on device" in line
        assert line.endswith("free space or choose another folder with --store")
    total = len(place.plan().steps)
    reused = int(computed.split(", ")[1].split()[0])
    assert 0 < reused < total
    assert computed.startswith(f"Computed {total - reused} steps")
    assert verified == f"{total} artifacts, none broken"
    first, second = reversed(place.results.runs())
    assert (first.status, second.status) == ("failed", "finished")
    assert place.rows("SELECT count(*) FROM loss") == [(10,)]


def test_a_store_that_cannot_be_written_is_named(place: Workplace) -> None:
    ended = on_a_disk_of("1m", place, "mount -o remount,ro .compat; $C run tiny.yaml; echo $?; $C cache ls; echo $?")
    assert ended.stdout.splitlines()[0] == "1"
    assert ended.stdout.splitlines()[-1] == "0"
    assert ended.stderr.startswith("compat: the store .compat cannot be written: Read-only file system")
