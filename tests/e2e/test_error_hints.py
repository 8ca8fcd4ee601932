"""Errors of `ygg` name the next command, and that command works after the error that names it."""

from __future__ import annotations

import pytest

from tests.fakes.board import AGENT
from tests.fixtures.newcomer import Newcomer

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not AGENT.exists(), reason="the posix agent is not built: make agent"),
]
FILES = {
    "units.lua": "-- @version 1.0.0\nreturn {}\n",
    "uses.lua": "-- @version 1.0.0\n-- @depends units 1.0.0\nlog(require('units'))\n",
    "shared.lua": "log(device.id)\n",
}
ERRORS: list[tuple[int, str, str, str]] = [
    # exit code, command, the hint that it prints, and the hint as typed
    (4, "ygg device show missing-1", "ygg device ls", "ygg device ls"),
    (4, "ygg device write missing-1 led0.on=true", "ygg device ls", "ygg device ls"),
    (4, "ygg device ls --group missing", "ygg group ls", "ygg group ls"),
    (2, "ygg group set upstairs", "ygg group set --help", "ygg group set --help"),
    (
        2,
        "ygg device call led0.blink times=3",
        "ygg device call DEVICE led0.blink",
        "ygg device call porch-1 led0.blink times=1 period_ms=90",
    ),
    (4, "ygg device tokens --delete missing", "ygg device tokens", "ygg device tokens"),
    (4, "ygg device contract porch-1 --revision 99", "ygg device contracts porch-1", "ygg device contracts porch-1"),
    (2, "ygg twin set porch-1", "ygg twin set porch-1 led0.on=true", "ygg twin set porch-1 led0.on=true"),
    (4, "ygg context use away", "ygg context set away --identity DIR", "ygg context set away --identity here"),
    (4, "ygg context rm missing", "ygg context set missing --identity DIR", "ygg context set missing --identity here"),
    (4, "ygg program logs missing", "ygg program ls", "ygg program ls"),
    (4, "ygg program deploy missing -d porch-1", "ygg program ls", "ygg program ls"),
    (2, "ygg program load uses.lua", "ygg program load units", "ygg program load units.lua"),
    (2, "ygg program deploy uses.lua", "--device ID", "ygg program deploy uses.lua --device porch-1"),
    (4, "ygg script run missing --device porch-1", "ygg script ls", "ygg script ls"),
    (1, "ygg script run shared.lua", "--device ID", "ygg script run shared.lua --device porch-1"),
    (2, "ygg ota rollout watch", "ygg ota rollout start", "ygg ota rollout start --help"),
    (2, "ygg ota rollout start sim@1.0.0", "ygg ota status", "ygg ota status"),
    (2, "ygg nonsense", "ygg --help", "ygg --help"),
    (2, "ygg device nonsense", "ygg device --help", "ygg device --help"),
    (1, "ygg device rm porch-1 --yes", "ygg device retire porch-1", "ygg device retire porch-1"),
]


def test_hints_of_errors_work_when_typed(newcomer: Newcomer) -> None:
    for name, text in FILES.items():
        (newcomer.folder / name).write_text(text)
    for code, command, hint, typed in ERRORS:
        newcomer.follow(command, code, [hint])
        newcomer.follow(typed)
