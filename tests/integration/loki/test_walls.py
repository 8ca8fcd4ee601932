"""The sandbox of a worker process, tested from inside, as an attacker in control of the engine.

`test_sandbox.py` tries to escape from the languages; these tests assume that this succeeded and call C directly.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.loki.engines import sandbox
from services.loki.engines.scheme import build
from services.loki.model import Language
from tests.integration.loki.conftest import Lab

ROOT = Path(__file__).resolve().parents[3]
BOTH = pytest.mark.parametrize("language", list(Language), ids=lambda language: language.value)
LIBC = "ctypes.CDLL(None, use_errno=True)"
DEMOTE = "if os.geteuid() == 0: os.setgroups([]); os.setresgid(*[12345] * 3); os.setresuid(*[12345] * 3)\n"

# Attacks on a sealed process. Each must fail, and the process must survive its own attack.
ATTACKS = {
    "open a file": "os.open('/etc/hostname', os.O_RDONLY)",
    "open its own program": "os.open(sys.executable, os.O_RDONLY)",
    "make a file": "os.open('/tmp/ygg-escaped', os.O_CREAT | os.O_WRONLY)",
    "list a folder": "os.listdir('/')",
    "look at a file": "os.stat('/etc/passwd')",
    "remove a file": "os.unlink('/tmp/ygg-escaped')",
    "change folder": "os.chdir('/tmp')",
    "a socket to the network": "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "a socket of this machine": "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
    "a pair of sockets": "socket.socketpair()",
    "fork": "os.fork()",
    "a program": "os.execv('/bin/sh', ['sh', '-c', 'exit 7'])",
    "a thread": "threading.Thread(target=print).start()",
    "kill the service": "os.kill(PARENT, 0)",
    "kill every process": "os.kill(-1, 0)",
    "trace the service": f"failed({LIBC}.ptrace(16, PARENT, 0, 0))",
    "read the service's memory": f"failed({LIBC}.syscall(310, PARENT, 0, 0, 0, 0, 0))",
    "the limits raised": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "another user": "os.setuid(0)",
    "a new namespace": f"failed({LIBC}.unshare(0x10000000))",
    "mount": f"failed({LIBC}.mount(b'none', b'/tmp', b'tmpfs', 0, 0))",
    "bpf": f"failed({LIBC}.syscall(321, 0, 0, 0))",
    "io_uring": f"failed({LIBC}.syscall(425, 8, 0))",
    "memory that runs": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)",
    "another filter": f"failed({LIBC}.prctl(22, 2, 0, 0, 0))",
}
PROBE = """
import ctypes, json, mmap, os, resource, socket, sys, threading
from services.loki.engines import bootstrap, sandbox
PARENT = int(sys.argv[1])
def failed(result):
    if result == -1: raise OSError(ctypes.get_errno(), 'refused')
bootstrap.bound(PARENT, lives=False)
seal = sandbox.plan(PARENT, makes_code=False)
seal.drop(); seal.lock()
answers = {}
for name, attack in json.loads(sys.argv[2]).items():
    try:
        eval(attack)
    except (OSError, ValueError, RuntimeError) as e:
        answers[name] = 'refused'
    else:
        answers[name] = 'done'
os.write(1, json.dumps({'sandbox': seal.described(), 'answers': answers, 'env': dict(os.environ)}).encode())
"""


def probe(code: str, attacks: dict[str, str]) -> dict[str, object]:
    """Return the result of each attack in a sealed Python process."""
    argv = [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(ROOT)!r}]\n{code}", str(os.getpid())]
    done = subprocess.run([*argv, json.dumps(attacks)], check=False, capture_output=True, env={}, cwd="/", timeout=60)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("user", ["unprivileged", *(["root"] if os.geteuid() == 0 else [])])
def test_nothing_can_be_opened_started_or_reached_from_inside(user: str) -> None:
    found = probe(PROBE if user == "root" else PROBE.replace("bootstrap.bound", DEMOTE + "bootstrap.bound"), ATTACKS)
    assert found["answers"] == dict.fromkeys(ATTACKS, "refused")
    assert found["env"] == {}
    assert ("user" in str(found["sandbox"])) is (user == "root")


def test_the_attacks_are_none_without_the_wall() -> None:
    """Control of the test above: its harmless attacks succeed in a process without a sandbox."""
    harmless = ["open a file", "list a folder", "look at a file", "a socket to the network", "a pair of sockets",
                "a thread", "kill the service", "memory that runs"]  # fmt: skip
    open_door = PROBE.replace("seal.drop(); seal.lock()", "")
    found = probe(open_door, {name: ATTACKS[name] for name in harmless})
    assert found["answers"] == dict.fromkeys(harmless, "done")


def test_seccomp_suffices_without_landlock() -> None:
    code = PROBE.replace("seal = sandbox.plan", "sandbox._LANDLOCK_CREATE_RULESET = 9999\nseal = sandbox.plan")
    found = probe(code, ATTACKS)
    assert "no landlock" in str(found["sandbox"])
    assert found["answers"] == dict.fromkeys(ATTACKS, "refused")


def test_landlock_alone_holds_files_and_tcp() -> None:
    tcp = "socket.socket().connect(('127.0.0.1', 9))"
    attacks = {name: ATTACKS[name] for name in ("open a file", "make a file", "list a folder")}
    if sandbox.plan(os.getppid(), makes_code=False).abi >= 4:  # earlier versions of Landlock do not cover the network
        attacks["connect"] = tcp
    code = PROBE.replace("seal.drop(); seal.lock()", "seal.drop()")
    code = code.replace("import ctypes", "import encodings.idna, ctypes")
    found = probe(code.replace("'refused'", "type(e).__name__"), attacks)
    assert found["answers"] == dict.fromkeys(attacks, "PermissionError")


def test_without_libseccomp_no_worker_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "LIBRARY", "libseccomp.so.99")
    with pytest.raises(sandbox.SandboxError, match="not installed"):
        sandbox.plan(os.getppid(), makes_code=True)


GUILE_ATTACKS = {
    "open a file": '(open-input-file "/etc/hostname")',
    "list a folder": '(opendir "/")',
    "look at a file": '(stat "/etc/passwd")',
    "a socket to the network": "(socket PF_INET SOCK_STREAM 0)",
    "a socket of this machine": "(socketpair PF_UNIX SOCK_STREAM 0)",
    "fork": "(primitive-fork)",
    "a program": '(execl "/bin/sh" "sh" "-c" "exit 7")',
    "kill the service": "(kill (getppid) 0)",
    "a pipe": "(pipe)",
    "a library": '(dynamic-link "libm")',
    "the limits raised": "(setrlimit 'as #f #f)",
    "another user": "(setuid 0)",
}
GUILE_PROBE = """
(use-modules (ygg seal))
(seal! (string->number (cadr (program-arguments))))
(define (refused? thunk) (catch #t (lambda () (thunk) #f) (lambda _ #t)))
(for-each
 (lambda (entry) (display (if (refused? (cdr entry)) "refused " "done ")) (display (car entry)) (newline))
 (list ATTACKS))
"""
START = """
import json, os, sys
from services.loki.engines import bootstrap, sandbox
bootstrap.bound(int(sys.argv[1]), lives=False)
argv = json.loads(sys.argv[2])
os.execv(argv[0], [*argv, str(sandbox.plan(int(sys.argv[1]), makes_code=True).handed_over())])
"""


def test_guile_cannot_open_start_or_reach_anything(scheme_cache: Path) -> None:
    guile = build.find()
    folder = build.ensure(guile, scheme_cache)
    attacks = " ".join(f"(cons {json.dumps(name)} (lambda () {code}))" for name, code in GUILE_ATTACKS.items())
    argv = [*build.command(guile, folder)[:-1], GUILE_PROBE.replace("ATTACKS", attacks)]
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}]\n{START}"
    start = [sys.executable, "-c", code, str(os.getpid()), json.dumps(argv)]
    done = subprocess.run(start, check=False, capture_output=True, env={}, cwd="/", timeout=60, text=True)
    assert done.stdout.splitlines() == [f"refused {name}" for name in GUILE_ATTACKS], done.stderr[-1000:]


def check_command_line(pid: int) -> None:
    """Check the arguments of a Scheme worker: a closed descriptor of the plan, and no descriptor of a counter."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    plan_fd, counter_fd, end = words[words.index("((@ (ygg worker) main))") + 1 :]
    assert plan_fd.isdecimal()
    assert (counter_fd, end) == ("", "")
    assert os.geteuid() != 0 or not Path(f"/proc/{pid}/fd/{plan_fd}").is_symlink()


@pytest.mark.asyncio(loop_scope="module")
async def test_the_command_line_of_guile_holds_nothing_of_the_wall(lab: Lab) -> None:
    await lab.all_up(Language.SCHEME)
    for pid in lab.pids(Language.SCHEME):
        check_command_line(pid)


def user_behind_the_wall(pid: int) -> str:
    """Check the kernel's status of the process and return its user id."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
    assert (int(status["CapEff"], 16), int(status["CapPrm"], 16)) == (0, 0)
    if os.geteuid() == 0:  # readable by root only
        environment = Path(f"/proc/{pid}/environ").read_text()
        assert all(word.startswith("GC_") or word == "LC_ALL=C.UTF-8" for word in environment.split("\0") if word)
        links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
        assert {link.partition(":")[0] for link in links} <= {"/dev/null", "socket", "pipe"}
        assert len({link for link in links if link.startswith("socket")}) == 1
        assert status["Groups"].strip() == ""
    return status["Uid"].split()[0]


@BOTH
@pytest.mark.asyncio(loop_scope="module")
async def test_the_workers_that_run_are_behind_the_wall(lab: Lab, language: Language) -> None:
    await lab.all_up(language)
    users = {user_behind_the_wall(pid) for pid in lab.pids(language)}
    if os.geteuid() == 0:
        assert "0" not in users
        assert len(users) == 2
    assert lab.pools[language].status().sandbox.startswith("seccomp, ")
