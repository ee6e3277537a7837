"""A Python with the trainer's libraries loaded, from which tests fork others: loading them takes 5 s of CPU time.

`preloaded.py serve DIRECTORY [PATH…]` loads them from this environment and from PATH…, and makes two programs:
DIRECTORY/bin/python for servers, whose warm launchers, inspections and endpoints are forks, and
DIRECTORY/bin/python-forked, whose trainers and launchers of several processes are forks. Anything else runs in the
environment's own Python. Inspections are forks of a process of their own, because they run without torch. Both end with
their standard input.

A fork gets the directory, environment, standard streams and umask of the program that asked for it, and shows command
line and environment as its own. Only libraries are shared: it imports the trainer's modules from where it is told to.
The program lives as long as its fork, passes signals on, and ends as the fork did; if it is killed, so is the fork.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable

PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
MAX_REQUEST = 1 << 20
# Space for the command line and for the environment of a fork, which are written over its own.
ROOM_BYTES = 32_768
ROOM = "FTL_ROOM"
OURS = "finetune_trainer"
# Where modules of the environment are found.
OUTSIDE: list = []
# Arguments of what is forked.
LAUNCHERS = r"""'-IuB '*' --warm '*"""
INSPECTIONS = r"""'-m finetune_trainer.training.inspection'"""
ENDPOINTS = "'-m finetune_trainer'"
TRAINERS = r"""'-m finetune_trainer' | '-u -m finetune_trainer.launch.worker'* | '-m accelerate.commands.launch '*"""
PROGRAM = """#!/bin/sh
case "$*" in
{cases}esac
exec '{python}' "$@"
"""
CASE = """  {arguments}){test} exec '{python}' -IS '{source}' run '{path}' "$0" "$@" ;;
"""
# Only endpoints of the provider `process` have this priority.
IS_ENDPOINT = """ grep -qs '"nice":0' ../launch.json &&"""


def run(path: str, python: str, arguments: list) -> None:
    """The part of a process whose work is done by the fork. Never returns."""
    for number in PASSED_ON:
        signal.signal(number, lambda *_: None)
    woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakes)
    try:
        server = socket.socket(socket.AF_UNIX)
        server.connect(path)
    except OSError:
        for number in PASSED_ON:
            signal.signal(number, signal.SIG_DFL)
        os.execv(sys.executable, [sys.executable, *arguments])
    mask = os.umask(0)
    os.umask(mask)
    asked = {"argv": [python, *arguments], "cwd": os.getcwd(), "environ": dict(os.environ), "umask": mask}
    text = json.dumps(asked).encode()
    socket.send_fds(server, [len(text).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(text)
    for stream in (0, 1, 2):
        os.close(stream)  # the fork has them: their other ends see when it closes them
    status = wait(server, woken)
    if os.WIFSIGNALED(status):
        if (number := os.WTERMSIG(status)) in PASSED_ON:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


def wait(server: socket.socket, woken: int) -> int:
    """The exit status of the fork. Signals that come meanwhile are passed on."""
    from select import select

    status = b""
    while len(status) < 4:
        ready, _, _ = select([server, woken], [], [])
        if woken in ready:
            server.sendall(os.read(woken, 64))
        if server in ready:
            if not (part := server.recv(4 - len(status))):
                return signal.SIGKILL
            status += part
    return int.from_bytes(status, "big")


def load_trainers() -> None:
    """Loads what a warm launcher loads, and DeepSpeed where it is found."""
    import importlib.util

    from finetune_trainer.launch import warm

    warm.prepare()
    if importlib.util.find_spec("deepspeed"):
        importlib.import_module("finetune_trainer.distributed.zero")
        importlib.import_module("deepspeed")


def load_inspections() -> None:
    """Loads what an inspection loads, in its environment."""
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    from finetune_trainer.training import inspection  # noqa: F401

    sys.modules["torch"] = None
    from transformers import AutoTokenizer  # noqa: F401

    from finetune_trainer.data import tool_template  # noqa: F401
    from finetune_trainer.model import tokenizer  # noqa: F401


def listen(path: str) -> socket.socket:
    """A socket on which requests wait from now on."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(64)
    return server


def serve(server: socket.socket, load: Callable[[], None]) -> None:
    """Loads the libraries, and forks until standard input ends."""
    from select import select

    load()
    for name in [name for name in sys.modules if name.partition(".")[0] == OURS]:
        del sys.modules[name]
    while True:
        ready, _, _ = select([0, server], [], [], 1)
        if server in ready:
            asker, _ = server.accept()
            if os.fork() == 0:
                server.close()
                watch(asker)
            asker.close()
        elif 0 in ready and not os.read(0, 4096):
            return
        while reap():
            pass


def reap() -> bool:
    """Whether a child that had exited was reaped."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0] > 0
    except ChildProcessError:
        return False


def watch(asker: socket.socket) -> None:
    """Forks for one asker, passes signals on, reports the end, and kills the fork when the asker is gone."""
    from select import select

    head, streams, _, _ = socket.recv_fds(asker, 4, 3)
    size = int.from_bytes(head, "big")
    assert len(streams) == 3 and size < MAX_REQUEST
    text = b""
    while len(text) < size:
        if not (part := asker.recv(size - len(text))):
            os._exit(1)
        text += part
    if (pid := os.fork()) == 0:
        asker.close()
        become(json.loads(text), streams)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
        os.close(streams[number])
    ended = os.pidfd_open(pid)
    while True:
        ready, _, _ = select([asker, ended], [], [])
        if ended in ready:
            _, status = os.waitpid(pid, 0)
            asker.sendall(status.to_bytes(4, "big"))
            os._exit(0)
        numbers = asker.recv(64)
        for number in numbers or [signal.SIGKILL]:
            os.kill(pid, number)
        if not numbers:
            os._exit(0)


def become(asked: dict, streams: list) -> None:
    """In the fork: what the interpreter does before it runs the program, then the program. Never returns."""
    import runpy

    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(asked["environ"])
    os.chdir(asked["cwd"])
    os.umask(asked["umask"])
    show(asked["argv"], asked["environ"])
    python, *rest = asked["argv"]
    options = ""
    while rest[0][0] == "-" and rest[0] != "-m":
        options += rest.pop(0)[1:]
    module = rest[1] if rest[0] == "-m" else None
    sys.argv = rest[1:] if module else rest
    sys.executable = python
    sys.dont_write_bytecode = "B" in options or bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    if "u" in options or os.environ.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(write_through=True)
    if "I" not in options:
        given = [path for path in os.environ.get("PYTHONPATH", "").split(":") if path]
        sys.path[:] = [os.getcwd() if module else os.path.dirname(rest[0]), *given, *OUTSIDE]
        customize(given)
    else:
        sys.path[:] = OUTSIDE
    if (threads := os.environ.get("OMP_NUM_THREADS")) and (torch := sys.modules["torch"]):
        torch.set_num_threads(int(threads))  # OpenMP read its own when it was loaded
    try:
        if module:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(rest[0], run_name="__main__")
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    leave(code)


def leave(code: int) -> None:
    """Ends as the interpreter does: after its threads and its exit functions."""
    import atexit
    import threading

    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = 120
    os._exit(code)


def customize(given: list) -> None:
    """Runs the `sitecustomize` of these directories, which Python does at its start."""
    import runpy

    for directory in given:
        path = os.path.join(directory, "sitecustomize.py")
        if os.path.exists(path):
            runpy.run_path(path)
            return


def show(argv: list, environ: dict) -> None:
    """Writes command line and environment to where the system reads them, as /proc shows them."""
    import ctypes

    with open("/proc/self/stat") as handle:
        fields = handle.read().rpartition(")")[2].split()
    starts_ends = [int(field) for field in fields[45:49]]
    for start, end, words in (
        (*starts_ends[:2], argv),
        (*starts_ends[2:], [f"{name}={value}" for name, value in environ.items()]),
    ):
        text = "".join(f"{word}\0" for word in words).encode(errors="surrogateescape")
        assert len(text) < end - start, "not enough room"
        ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


def make_programs(directory: str, trainers: str, inspections: str) -> None:
    """Writes the programs that ask on the sockets `trainers` and `inspections`."""
    os.makedirs(os.path.join(directory, "bin"))
    given = {"python": sys.executable, "source": os.path.abspath(__file__)}
    programs = {
        "python": [(LAUNCHERS, "", trainers), (INSPECTIONS, "", inspections), (ENDPOINTS, IS_ENDPOINT, trainers)],
        "python-forked": [(TRAINERS, "", trainers)],
    }
    for name, cases in programs.items():
        text = "".join(CASE.format(arguments=arguments, test=test, path=path, **given) for arguments, test, path in cases)
        with open(os.open(os.path.join(directory, "bin", name), os.O_WRONLY | os.O_CREAT, 0o755), "w") as handle:
            handle.write(PROGRAM.format(cases=text, **given))


def main() -> None:
    """The preloaded process, or a program that asks it."""
    verb, place, *rest = sys.argv[1:]
    if verb == "run":
        run(place, rest[0], rest[1:])
    if ROOM not in os.environ:
        room = "x" * ROOM_BYTES
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:], room], {**os.environ, ROOM: room})
    del os.environ[ROOM]
    show(sys.orig_argv[:-1], dict(os.environ))
    OUTSIDE[:] = sys.path
    sys.path[:0] = rest[:-1]
    customize(rest[:-1])
    paths = [os.path.join(place, name) for name in ("trainers", "inspections")]
    make_programs(place, *paths)
    trainers, inspections = map(listen, paths)
    print("ready", flush=True)
    if os.fork() == 0:
        trainers.close()
        serve(inspections, load_inspections)
    else:
        inspections.close()
        serve(trainers, load_trainers)


if __name__ == "__main__":
    main()
