"""`ygg doctor` on the files of a mesh."""

from __future__ import annotations

from pathlib import Path

import pytest

from ygg.cli.run import run as main
from ygg.contexts import Context, Contexts
from ygg.doctor import Finding, examine
from ygg.home import Home
from ygg.mesh.bootstrap import Bootstrap, run
from ygg.mesh.layout import Layout
from ygg.pki.store import utc_now


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout(tmp_path / "mesh")
    run(found.root, Bootstrap())
    return found


def about(layout: Layout, words: str) -> Finding:
    found = [one for one in examine(layout, utc_now()) if words in one.text]
    assert len(found) == 1, found
    return found[0]


def test_the_signing_key_is_the_registrys_alone(layout: Layout) -> None:
    assert about(layout, "device CA key").ok
    key = layout.identity("service", "registry") / "devices-ca-key.pem"
    key.chmod(0o640)
    found = about(layout, "device CA key")
    assert (found.ok, found.need, found.fix) == (False, "must", f"chmod 600 {key}")
    assert "0640" in found.text
    key.unlink()
    gone = about(layout, "device CA key")
    assert (gone.ok, gone.need) == (False, "optional")
    run(layout.root, Bootstrap())
    assert about(layout, "device CA key").ok


def test_bridge_chain_fits_limit_of_plan(layout: Layout) -> None:
    found = about(layout, "certificate chain")
    assert found.ok
    assert found.text.endswith("the smallest device accepts 4 kB")


def test_keys_are_not_examined_without_a_mesh(tmp_path: Path) -> None:
    assert not [one for one in examine(Layout(tmp_path), utc_now()) if "device CA key" in one.text]


def test_doctor_looks_at_the_mesh_of_the_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "home")
    monkeypatch.setenv("YGG_HOME", str(home.path))
    monkeypatch.delenv("YGG_CONTEXT", raising=False)
    run(home.mesh, Bootstrap())
    Contexts(home).put("away", Context(identity=str(tmp_path / "nobody")))

    def said(context: str) -> str:
        main(["--context", context, "doctor"])
        return capsys.readouterr().out.replace("\n", " ")

    assert "the registry has the device CA key" in said("local")
    away = said("away")
    assert "device CA key" not in away
    assert "context away:" in away
    assert "ygg context set away --identity DIR" in away
