"""The examples of every `--help`, run in an order that satisfies their prerequisites, and the hints that they print.

A line that begins with `+` is not an example but a prerequisite of those below it. An example that is missing here, or
one that no help text contains any more, is a failure.
"""

from __future__ import annotations

import pytest

from tests.fakes.board import AGENT
from tests.fixtures.documents import examples
from tests.fixtures.newcomer import Newcomer

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not AGENT.exists(), reason="the posix agent is not built: make agent"),
]
ELSEWHERE = {
    "ygg up": "test_demo_and_cli.py",
    "ygg up -d": "test_demo_and_cli.py",
    "ygg up --free-ports": "the fixture newcomer, with -d",
    "ygg up -d --host mesh.lan --host 10.0.0.7": "test_certificates.py",
    "ygg --context compose status": "containers/test_container_disk.py",
    "ygg script repl --device porch-1 --lang scheme": "it is interactive",
}
"""Examples that need the default ports or a terminal, and the tests that run them instead."""
NOT_TO_BE_FOLLOWED = {
    "ygg device why DEVICE --has …": "it does not say what",
    "ygg context use compose": "that mesh does not run here",
    "ygg --context compose …": "it does not say what",
}
"""Hints that are not run, with the reason; all others are run immediately."""
FILES = {
    "devices.ndjson": '"cellar-1"\n{"id": "cellar-2", "labels": {"zone": "cellar"}}\n',
    "desired.json": '{"led0": {"brightness": 30}}\n',
    "fw.bin": "firmware " * 1000,
    "policy.json": '{"name": "quiet", "deny": ["actuator.*"]}',
    "password": "correct horse battery staple\n",
    "blink.lua": "-- Blink.\n-- @param times int How often.\nlog('blinking')\n"
    "return device.led0.blink{ times = args.times, period_ms = 100 }\n",
    "blink_test.lua": "test('it blinks', function() expect_equal(subject{times = 2}.count, 2) end)\n",
    "monitor.lua": "-- Watch a limit.\n-- @version 1.0.0\n-- @param limit int=30 Degrees.\n"
    "every('look', 1, function() log('looking at ' .. args.limit) end)\n",
}
MESH = """
ygg status
ygg --json creds
grpcurl $(ygg grpcurl) localhost:50051 list
+ mkdir -p var/compose/identities/user && cp -r $YGG_HOME/mesh/identities/user/operator var/compose/identities/user/
"""
DEVICES = """
ygg device ls
ygg device read porch-1 temp0.celsius
ygg device label porch-1 zone=hall floor-
ygg group set upstairs 'floor in (1,2),!old' -d 'first and second floor'
ygg group ls
ygg device ls --has actuator.led
ygg device ls -l zone=hall --has sensor.temperature@2+ --offline
ygg device ls --group upstairs --state suspended
ygg device ls --expiring 30d
ygg device show porch-1
ygg device why porch-1 --has sensor.temperature@2+
ygg device why porch-1 --has 'actuator.led{brightness:int % 0..100 rw}' -l zone=hall --online
ygg device contract porch-1
ygg device contract porch-1 --revision 1
ygg device contracts porch-1
ygg device td porch-1 | jq .properties
ygg device watch
ygg device watch porch-1 --kind event
ygg device watch -l zone=hall
ygg device watch --only gpio0.changed
ygg --json device watch | jq .
ygg device call porch-1 led0.blink times=3 period_ms=200
ygg device call porch-1 porch-2 led0.blink times=1 period_ms=100
ygg device call -l zone=hall --has actuator.led@1+ led0.blink times=3 period_ms=200
ygg device read porch-1 temp0.celsius led0.on
ygg device write porch-1 led0.on=true led0.brightness=40%
ygg twin watch porch-1
ygg --json twin watch --changes-only | jq .delta
ygg twin set porch-1 led0.brightness=40 led0.on=true
ygg twin get porch-1
ygg twin get porch-1 --json | jq .delta
ygg twin set porch-1 led0.on=
ygg twin set porch-1 --file desired.json --replace --revision 2
ygg twin history porch-1 -n 5
ygg group rm upstairs
ygg device register shed-1 shed-2 -l zone=shed
ygg device rm shed-1 shed-2 --yes
ygg device token shed-1 -l zone=shed > shed-1.token
YGG_AGENT_TOKEN=$(cat shed-1.token) ygg-agent --identity ./shed-1 --connect HOST:7443
ygg device revoke shed-1 --yes
ygg device token shed-1
ygg device tokens
ygg device tokens shed-1
ygg device tokens --delete 4f1c…
ygg device register --file devices.ndjson --pending
ygg device suspend porch-1
ygg device activate porch-1
+ online porch-1
ygg device disconnect porch-1
+ online porch-1
"""
SCRIPTS = """
ygg script new porch_alarm --lang scheme
ygg script run porch_alarm.scm --device porch-1
+ cp examples/alarm.scm .
ygg script check alarm.scm -d porch-1
+ mkdir scripts && cp blink.lua blink_test.lua scripts
ygg script test scripts
ygg script run blink.lua --device porch-1 --arg times=3
ygg script register blink.lua
ygg script logs blink -f
ygg script run blink -d porch-1 --arg times=3
ygg script ls 'porch_*'
ygg script show blink > blink.lua
ygg script rm blink
"""
PROGRAMS = """
+ cp examples/programs/blink.lua examples/programs/thermostat.lua .
ygg program load thermostat.lua
+ ygg program load monitor.lua
ygg program deploy blink.lua -d porch-1
ygg program deploy monitor -l zone=hall -a limit=25
ygg program ls
ygg program show blink
ygg program stop blink
ygg program start blink
ygg program restart blink
ygg program logs -f blink
ygg program eval thermostat 'target + 1' -d porch-1
ygg program globals thermostat
ygg program globals thermostat target=22
ygg program stats blink -d porch-1
ygg program history blink -d porch-1
ygg program status
ygg program status thermostat -d porch-1
ygg program store set thermostat target=21.5
ygg program store ls thermostat -d porch-1
ygg program store get thermostat target
ygg program store set thermostat target=
+ sed 's/@version 1.0.0/@version 1.1.0/' examples/programs/blink.lua > blink.lua && ygg program load blink.lua
ygg program rollout blink 1.1.0 --share 20
ygg program rollout blink --promote
ygg program dev thermostat.lua -d porch-1
ygg program unload blink
ygg program unload --program blink --force
"""
UPDATES = """
ygg ota keygen --password root-anna.key
+ for key in a b release-anna new; do ygg ota keygen $key.key && cp $YGG_HOME/keys/$key.key.pub $key.pub; done
+ mv release-anna.pub r.pub
ygg ota timestamp-key -o timestamp.pub
+ cp timestamp.pub ts.pub
ygg ota root init --root-key a.pub --root-key b.pub --root-threshold 2 --release-key r.pub \
--timestamp-key ts.pub -o 1.root
ygg ota sign 1.root --key a.key
+ ygg ota sign 1.root --key b.key
ygg ota root set 1.root --bootstrap
+ ygg device token hall-1 -l zone=hall -l updates=yes
+ YGG_AGENT_TOKEN=ygg1.hall-1.… ygg-agent --identity hall-1 --connect HOST:7443 --slots hall-1.flash --ota-root 1.root
ygg ota manifest fw.bin --class sim-board --version 2.1.0 --sequence 7 --slot-size 1048576 -o 7.release
ygg ota sign 7.release --key release-anna.key
ygg ota inspect 7.release --root 1.root
ygg ota upload fw.bin
ygg ota release 7.release --image fw.bin
ygg ota rollout start sim-board@2.1.0 -l zone=hall --waves 2,25%,100% --halt-at 10% --dry-run
+ make -C firmware image VERSION=1.1.0 && cp build/firmware/images/*-1.1.0 fw-1.1.0
+ ygg ota manifest fw.bin --class sim --version 1.0.0 --sequence 1 \
--slot-size 4194304 --key release-anna.key -o 1.release
+ ygg ota manifest fw-1.1.0 --class sim --version 1.1.0 --sequence 2 \
--slot-size 4194304 --key release-anna.key -o 2.release
+ ygg ota release 1.release --image fw.bin && ygg ota release 2.release --image fw-1.1.0
+ ygg ota rollout start sim@1.1.0 -l updates=yes --waves 1
+ rollout done
ygg ota rollout rollback r-3f9a1c
ygg ota floor sim-board 2
ygg ota root rotate 1.root --timestamp-key new.pub -o 2.root --key a.key --key b.key
ygg ota root set 2.root
+ ygg down && ygg up -d --free-ports --policy policy.json
+ restart porch-1
ygg device diff porch-1 1 2
ygg device diff porch-1
ygg device retire porch-1 --yes
"""
KEEPING = """
ygg backup mesh.ndjson
ygg backup - | gzip > mesh.ndjson.gz
ygg restore mesh.ndjson
gzip -dc mesh.ndjson.gz | ygg restore -
+ mv $YGG_HOME/mesh/identities/device/porch-1 before
ygg pki issue device porch-1
+ mv $YGG_HOME/mesh/identities/service/loki loki-before
ygg pki issue service loki --dns loki.lan --ip 10.0.0.7
ygg pki issue user anna --out ~/anna
ygg pki protect
ygg pki init --dir ./pki
ygg context set compose --identity ./var/compose/identities/user/operator
ygg context rm compose
"""
ORDER = [line for part in (MESH, DEVICES, SCRIPTS, PROGRAMS, UPDATES, KEEPING) for line in part.strip().split("\n")]


def test_every_example_is_run_here() -> None:
    assert {line for line in ORDER if not line.startswith("+ ")} | set(ELSEWHERE) == set(examples())


def test_examples_of_help_texts_work_when_typed(newcomer: Newcomer) -> None:
    for name, text in FILES.items():
        (newcomer.folder / name).write_text(text)
    for line in ORDER:
        match line.removeprefix("+ ").split():
            case ["online", device]:
                newcomer.online(device)
            case ["rollout", "done"]:
                newcomer.rollout_done()
            case ["restart", device]:
                newcomer.restart(device)
            case _:
                newcomer.hints.clear()
                newcomer.follow(line.removeprefix("+ "))
                if not line.startswith("+"):
                    for hint in [hint for hint in newcomer.hints if hint not in NOT_TO_BE_FOLLOWED]:
                        newcomer.follow(hint.replace("DEVICE", "porch-1").replace("VALUE", "3"))
    newcomer.all_have_said_something()
