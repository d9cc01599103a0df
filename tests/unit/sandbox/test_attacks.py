"""Every attack, in each profile, started by root and by a plain user."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from journeyman.sandbox import Profile
from journeyman.sandbox.attacks import ALL
from journeyman.sandbox.attacks.attack import Attack
from journeyman.sandbox.decoys import Decoys
from journeyman.sandbox.selftest import AttackResult, SelfTest, run_attack
from tests.sandboxes import Starter, as_plain_user, outcomes, sandbox

WAYS: list[tuple[Profile, Starter]] = [
    ("strict", "this user"),
    ("strict", "a plain user"),
    ("degraded", "this user"),
    ("degraded", "a plain user"),
]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=" by ".join)
@pytest.mark.parametrize("attack", ALL, ids=lambda attack: f"{attack.group}: {attack.name}")
def test_an_attack_is_held_in_time_and_the_host_is_unchanged(
    attack: Attack, way: tuple[Profile, Starter]
) -> None:
    results = _of(outcomes(*way), attack)
    assert results
    for result in results:
        assert result.held, result
        assert not result.changes


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=" by ".join)
def test_a_right_answer_passes_where_lies_do_not(way: tuple[Profile, Starter]) -> None:
    right = [result for result in outcomes(*way).attacks if result.group == "right answer"]
    assert right
    assert all(result.held for result in right), right


@pytest.mark.slow
def test_lies_are_tried_on_every_kind_of_check() -> None:
    names = {result.name for result in outcomes("strict", "this user").attacks}
    assert {f"exits at once ({x})" for x in ("doctest", "assert", "pytest", "command")} <= names


def test_a_plain_user_runs_the_command_and_gets_its_result() -> None:
    ended = as_plain_user(["-m", "journeyman", "sandbox", "selftest", "--short", "--json"])
    found = msgspec.json.decode(ended.stdout, type=SelfTest)
    assert (ended.returncode, found.held, found.user, found.profile) == (0, True, None, "strict")


def test_the_command_ends_with_4_without_a_sandbox() -> None:
    # No candidate at all: no bubblewrap and no seccomp filter.
    code = (
        "import journeyman.sandbox.discovery as f; f.candidates = lambda *_: iter(())\n"
        "from journeyman.cli import main; main(['sandbox', 'selftest', '--json'])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    found = msgspec.json.decode(ended.stdout, type=SelfTest)
    assert (ended.returncode, found.profile, found.held) == (4, "none", False)


def test_an_attack_that_succeeds_is_not_held() -> None:
    success = Attack("files", "succeeds", "def attack():\n    return 'got it'\n")
    result = run_attack(sandbox(), success)
    assert (result.held, result.outcome) == (False, "mismatch")


REACHED: dict[str, Callable[[Decoys], object]] = {
    "a file is written": lambda decoys: decoys.secret.write_text("x"),
    "a file is made": lambda decoys: (decoys.folder / "new").touch(),
    "a mode is changed": lambda decoys: decoys.secret.chmod(0o600),
    "a file is removed": lambda decoys: decoys.secret.unlink(),
    "a link is made": lambda decoys: os.link(decoys.secret, decoys.folder / "link"),
    "TCP is reached": lambda decoys: socket.create_connection(decoys.tcp_address).close(),
    "a signal is sent": lambda decoys: os.kill(decoys.victim, 23),
    "a priority is lowered": lambda decoys: os.setpriority(os.PRIO_PROCESS, decoys.victim, 19),
}


@pytest.mark.parametrize("act", REACHED.values(), ids=REACHED)
def test_decoys_show_that_they_were_reached(act: Callable[[Decoys], object]) -> None:
    with Decoys(None) as decoys:
        assert decoys.changes() == []
        act(decoys)
        assert len(decoys.changes()) >= 1


def test_decoys_show_a_stray_file_a_listener_and_a_process(tmp_path: Path) -> None:
    with Decoys(None) as decoys, socket.socket() as server:
        stray = Path("/tmp") / decoys.token
        stray.touch()
        server.bind(("127.0.0.1", decoys.listen_port))
        server.listen()
        left = subprocess.Popen(["sleep", "60"], env={"JOURNEYMAN_RUN": decoys.token})
        try:
            found = " ".join(decoys.changes(ending_s=0.0))
        finally:
            left.kill()
            left.wait()
            stray.unlink()
    assert all(word in found for word in ("stray files", "listens by tcp", str(left.pid)))


def _of(test: SelfTest, attack: Attack) -> list[AttackResult]:
    return [
        result
        for result in test.attacks
        if result.group == attack.group
        and (result.name == attack.name or result.name.startswith(f"{attack.name} ("))
    ]
