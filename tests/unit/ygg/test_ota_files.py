"""`ygg ota`, offline: keys, roots and manifests as files, made and signed by several people."""

import contextlib
import hashlib
import io
import json
import os
import pty
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import detools  # type: ignore[import-untyped]
import pytest

from services.chassis import trust_codec
from services.domain import trust
from ygg.cli.run import run
from ygg.ota import keys, metadata

ROOT = Path(__file__).parents[3]
Captured = pytest.CaptureFixture[str]
NAMES = ("root-a", "root-b", "release-a", "release-b", "timestamp", "spare")

MANIFEST = ("--class", "sim-board", "--version", "2.0.0", "--sequence", "2", "--slot-size", "65536")


@pytest.fixture(autouse=True)
def key_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("YGG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'gen'}")
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        keys.generate(tmp_path / f"{name}.key")
    (tmp_path / "fw.bin").write_bytes(bytes(range(256)) * 20)
    return tmp_path


def ygg(capsys: Captured, *words: str) -> Any:
    capsys.readouterr()
    assert run(["--json", "ota", *words]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refused(capsys: Captured, *words: str) -> str:
    capsys.readouterr()
    assert run(["ota", *words]) != 0
    return capsys.readouterr().err


def inspected(capsys: Captured, *words: str, status: int) -> Any:
    capsys.readouterr()
    assert run(["--json", "ota", "inspect", *words]) == status
    return json.loads(capsys.readouterr().out)


def first_root(capsys: Captured, *more: str) -> Any:
    held = ["--root-key", "root-a.key.pub", "--root-key", "root-b.key", "--root-threshold", "2"]
    held += ["--release-key", "release-a.key", "--release-key", "release-b.key", "--release-threshold", "2"]
    return ygg(capsys, "root", "init", *held, "--timestamp-key", "timestamp.key", "-o", "1.root", *more)


def manifest(capsys: Captured, *more: str) -> Any:
    return ygg(capsys, "manifest", "fw.bin", *MANIFEST, "-o", "2.release", *more)


def test_keys_are_for_their_owner_only(key_files: Path) -> None:
    assert stat.S_IMODE((key_files / "root-a.key").stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(capsys: Captured) -> None:
    assert "already exists" in refused(capsys, "keygen", "root-a.key")


def test_keygen_stores_key_in_home_and_sign_finds_it(key_files: Path, capsys: Captured) -> None:
    made = ygg(capsys, "keygen", "mine.key")
    assert Path(made["key"]) == key_files / "home" / "keys" / "mine.key"
    assert not list(key_files.glob("mine*"))
    held = ["--root-key", "mine.key", "--release-key", "mine.key.pub", "--timestamp-key", "timestamp.key"]
    ygg(capsys, "root", "init", *held, "--key", "mine.key", "-o", "mine.root")
    assert len(inspected(capsys, "mine.root", status=0)["signed_by"]) == 1
    assert "already exists" in refused(capsys, "keygen", "mine.key")


def test_keygen_refuses_a_folder_that_git_would_commit(key_files: Path, capsys: Captured) -> None:
    tree = key_files / "tree"
    subprocess.run(["git", "init", "-q", tree], check=True)
    said = refused(capsys, "keygen", "tree/keys/mine.key")
    assert f"is inside the git work tree {tree}" in said
    assert not list(tree.rglob("*.key"))
    (tree / ".gitignore").write_text("keys/\n")
    assert ygg(capsys, "keygen", "tree/keys/mine.key")["key"] == "tree/keys/mine.key"


def test_a_password_is_asked_for_at_a_terminal_only(key_files: Path, capsys: Captured) -> None:
    assert "stdin is not a terminal; pass --password-file" in refused(capsys, "keygen", "--password", "new.key")
    (key_files / "empty").write_text("\nsecret\n")
    assert "the first line of empty is empty" in refused(capsys, "keygen", "new.key", "--password-file", "empty")
    assert not (key_files / "new.key").exists()


def test_typed_password_locks_key_and_signs(capsys: Captured) -> None:
    """As docs/reference/updates.md has it: `keygen --password`, then `sign --key`."""
    first_root(capsys)
    at_a_terminal(["keygen", "--password", "locked.key"], ["secret", "secret"])
    at_a_terminal(["sign", "1.root", "--key", "locked.key"], ["secret"])
    assert len(inspected(capsys, "1.root", status=1)["signed_by"]) == 1


def at_a_terminal(words: list[str], typed: list[str]) -> None:
    """Runs `ygg ota …` in a process on a pty; types a line whenever one is asked for."""
    ours, terminal = pty.openpty()
    command = [sys.executable, "-m", "ygg", "ota", *words]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True) as process:
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the terminal is closed
            while data := os.read(ours, 1024):
                shown += data
                if typed and shown.endswith(b": "):  # the blank comes once the echo is off
                    os.write(ours, typed.pop(0).encode() + b"\n")
                    shown = b""
        os.close(ours)
    assert process.returncode == 0, shown


def test_irreversible_commands_ask_for_confirmation(capsys: Captured) -> None:
    said = "confirmation required, but stdin is not a terminal; pass --yes"
    assert said in refused(capsys, "rollout", "abort", "r-1")


def test_a_root_is_never_overwritten(capsys: Captured) -> None:
    first_root(capsys)
    assert "already exists" in refused(capsys, "root", "rotate", "1.root", "-o", "1.root")


def test_a_root_without_its_signatures_is_not_valid(capsys: Captured) -> None:
    first_root(capsys, "--key", "root-a.key")
    assert inspected(capsys, "1.root", status=1)["valid"] is False
    ygg(capsys, "sign", "1.root", "--key", "root-b.key")
    assert inspected(capsys, "1.root", status=0)["valid"] is True


def test_an_expired_file_is_not_valid(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest(capsys, "--days", "1")
    assert inspected(capsys, "2.release", status=0)["valid"] is True
    later = time.time() + 2 * 86_400
    monkeypatch.setattr("ygg.cli.ota_local.time.time", lambda: later)
    assert "the release expired" in refused(capsys, "inspect", "2.release")


def test_file_against_the_rules_is_invalid_with_reason(key_files: Path, capsys: Captured) -> None:
    manifest(capsys)
    found = metadata.read(key_files / "2.release")
    assert isinstance(found.body, trust.Manifest)
    wrong = trust_codec.manifest_bytes(replace(found.body, slot_size_bytes=5119))
    (key_files / "2.release").write_bytes(trust_codec.envelope_bytes(trust.Envelope(wrong)))
    assert "the image has 5120 bytes, its slot 5119" in refused(capsys, "inspect", "2.release")


def test_a_release_needs_the_files_that_its_manifest_names(key_files: Path, capsys: Captured) -> None:
    """Refused before anything is uploaded: there is no mesh here."""
    manifest(capsys)
    good = (key_files / "fw.bin").read_bytes()
    for data in (good + b"x", good[:-1] + b"x"):
        (key_files / "other.bin").write_bytes(data)
        said = refused(capsys, "release", "2.release", "--image", "other.bin")
        assert f"the manifest: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}" in said.replace("\n", " ")
        assert f"expected 5120 bytes, SHA-256 {hashlib.sha256(good).hexdigest()}" in said.replace("\n", " ")
    assert "has no patch" in refused(capsys, "release", "2.release", "--patch", "other.bin")


def test_a_key_with_a_password_needs_it(key_files: Path, capsys: Captured) -> None:
    (key_files / "pw").write_text("secret\n")
    (key_files / "wrong").write_text("other\n")
    ygg(capsys, "keygen", "locked.key", "--password-file", "pw")
    assert b"ENCRYPTED" in keys.located(Path("locked.key")).read_bytes()
    first_root(capsys)
    said = refused(capsys, "sign", "1.root", "--key", "locked.key")
    assert "password of locked.key required, but stdin is not a terminal; pass --password-file FILE" in said
    assert "password is wrong" in refused(capsys, "sign", "1.root", "--key", "locked.key", "--password-file", "wrong")
    assert len(ygg(capsys, "sign", "1.root", "--key", "locked.key", "--password-file", "pw")["signed_by"]) == 1


def test_a_root_is_enough_once_its_threshold_has_signed(capsys: Captured) -> None:
    assert first_root(capsys)["enough"] is False
    assert ygg(capsys, "sign", "1.root", "--key", "root-a.key")["enough"] is False
    assert ygg(capsys, "sign", "1.root", "--key", "root-a.key")["enough"] is False
    assert ygg(capsys, "sign", "1.root", "--key", "root-b.key")["enough"] is True


def test_rotated_root_keeps_omitted_settings(capsys: Captured) -> None:
    before = first_root(capsys)
    after = ygg(capsys, "root", "rotate", "1.root", "--timestamp-key", "spare.key", "-o", "2.root")
    assert after["version"] == 2
    assert after["root_keys"] == before["root_keys"]
    assert after["root_threshold"] == 2
    assert after["timestamp_keys"] != before["timestamp_keys"]


def test_the_online_key_may_hold_no_other_role(capsys: Captured) -> None:
    words = ["--root-key", "root-a.key", "--release-key", "timestamp.key", "--timestamp-key", "timestamp.key"]
    assert "another role" in refused(capsys, "root", "init", *words, "-o", "bad.root")


def test_a_manifest_is_enough_with_two_of_two(capsys: Captured) -> None:
    first_root(capsys)
    assert manifest(capsys, "--key", "release-a.key")["image_size_bytes"] == 5120
    found = inspected(capsys, "2.release", "--root", "1.root", status=1)
    assert (found["enough"], found["valid"]) == (False, False)
    ygg(capsys, "sign", "2.release", "--key", "release-b.key")
    assert ygg(capsys, "inspect", "2.release", "--root", "1.root")["enough"] is True


def test_a_manifest_that_names_a_patch(key_files: Path, capsys: Captured) -> None:
    old, new = (key_files / "old.bin", key_files / "fw.bin")
    old.write_bytes(new.read_bytes().replace(b"\x10\x11", b"\x11\x10"))
    found = manifest(capsys, "--from", "old.bin", "--patch", "fw.patch", "--key", "release-a.key")
    assert found["delta_from"] == hashlib.sha256(old.read_bytes()).hexdigest()
    made, patched = (key_files / "fw.patch").read_bytes(), io.BytesIO()
    assert found["patch_size_bytes"] == len(made) < len(new.read_bytes()) / 4
    detools.apply_patch(io.BytesIO(old.read_bytes()), io.BytesIO(made), patched)
    assert patched.getvalue() == new.read_bytes()
    assert (key_files / "2.release").stat().st_size <= 1024
    assert "together" in refused(capsys, "manifest", "fw.bin", *MANIFEST, "-o", "x.release", "--patch", "x.patch")


def test_a_manifest_signed_by_strangers_is_not_enough(capsys: Captured) -> None:
    first_root(capsys)
    manifest(capsys, "--key", "root-a.key", "--key", "spare.key")
    assert inspected(capsys, "2.release", "--root", "1.root", status=1)["good_signatures"] == []
    assert "0 valid signatures, a release needs 2" in refused(capsys, "inspect", "2.release", "--root", "1.root")


def test_a_changed_file_loses_its_signatures(key_files: Path, capsys: Captured) -> None:
    first_root(capsys)
    manifest(capsys, "--key", "release-a.key", "--key", "release-b.key")
    data = (key_files / "2.release").read_bytes()
    (key_files / "2.release").write_bytes(data.replace(b"sim-board", b"sim-bored"))
    found = inspected(capsys, "2.release", "--root", "1.root", status=1)
    assert (found["device_class"], found["good_signatures"], found["enough"]) == ("sim-bored", [], False)


@pytest.mark.parametrize("option", [("--chunk", "300"), ("--slot-size", "100"), ("--class", "")], ids=str)
def test_a_manifest_against_the_rules_is_not_made(option: tuple[str, str], capsys: Captured) -> None:
    words = ["--class", "c", "--version", "1", "--sequence", "1", "--slot-size", "9999", "-o", "x.release", *option]
    refused(capsys, "manifest", "fw.bin", *words)
    assert not Path("x.release").exists()


def test_image_over_slot_size_is_refused_with_both_sizes(key_files: Path, capsys: Captured) -> None:
    (key_files / "fw.bin").write_bytes(bytes(65537))
    assert "the image has 65537 bytes, its slot 65536" in refused(capsys, "manifest", "fw.bin", *MANIFEST, "-o", "x")
    assert not Path("x").exists()
    (key_files / "fw.bin").write_bytes(bytes(65536))
    assert manifest(capsys)["image_size_bytes"] == 65536


def test_something_else_is_neither(capsys: Captured) -> None:
    assert "neither" in refused(capsys, "inspect", "fw.bin")
