"""Keeps watch over one piece of work: starts it detached, bounds its log, and writes down how it ended even when no
server is there to see it.

Usage: python -I launcher.py STATE_DIR. Reads STATE_DIR/launch.json; the work inherits this program's environment. Standard library only.
With --warm SOURCES_DIR it has the trainer's libraries ready before there is work: it says `ready`, then starts a piece of work for each
line `{"directory", "env"}` it reads by forking itself, answers each with a line, and ends with its standard input.
Files: started.json (written by the work itself just before exec), exit.json (last word), output.log and output.1.log, lock (held while watching).
"""

import ctypes
import fcntl
import json
import os
import resource
import signal
import sys
import time

PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
TICK_S = 0.2


def write_json(directory: str, name: str, value: dict) -> None:
    """Puts a complete file in place or none: written beside, flushed to disk, renamed."""
    temporary = os.path.join(directory, f".{name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        json.dump(value, handle)
        handle.flush()
        os.fsync(handle.fileno())
    os.rename(temporary, os.path.join(directory, name))


def start_time(pid: int) -> int:
    """Clock ticks since boot at which `pid` started: with the pid it names a process for good, reuse or not."""
    with open(f"/proc/{pid}/stat") as handle:
        return int(handle.read().rpartition(")")[2].split()[19])


def boot_id() -> str:
    """Names this boot of the machine; start times of two boots are not comparable."""
    with open("/proc/sys/kernel/random/boot_id") as handle:
        return handle.read().strip()


def oom_kills() -> int:
    """How often the kernel killed for want of memory so far; 0 where it does not say."""
    for path, word in (("/sys/fs/cgroup/memory.events", "oom_kill"), ("/proc/vmstat", "oom_kill")):
        try:
            with open(path) as handle:
                for line in handle:
                    if line.startswith(word + " "):
                        return int(line.split()[1])
        except OSError:
            continue
    return 0


def children() -> list:
    """Living children of this program; as a subreaper it inherits what the work left behind."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as handle:
                    fields = handle.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid() and fields[0] != "Z":
                found.append(int(name))
    return found


def become_work(directory: str, plan: dict, ours: list, run) -> None:
    """In the forked child: own session, limits, `started.json`, then exec, or `run` where it is given. Never returns.
    """
    try:
        os.setsid()
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if plan["nice"]:
            os.nice(plan["nice"])
        try:
            # When memory runs out the kernel should take the work, not the server.
            with open("/proc/self/oom_score_adj", "w") as handle:
                handle.write("500")
        except OSError:
            pass
        os.chdir(plan["cwd"])
        pid = os.getpid()
        started = {
            "pid": pid,
            "start_time": start_time(pid),
            "boot_id": boot_id(),
            "launcher_pid": os.getppid(),
            "launcher_start_time": start_time(os.getppid()),
            "at": int(time.time() * 1000),
            "warm": run is not None,
        }
        write_json(directory, "started.json", started)
        if run is not None:
            for descriptor in ours:  # an exec closes them
                os.close(descriptor)
            ctypes.CDLL(None).prctl(PR_SET_NAME, b"ftl-trainer", 0, 0, 0)  # its command line is that of the warm launcher
            os._exit(in_process(run))
        os.execvpe(plan["argv"][0], plan["argv"], os.environ)
    except OSError as error:
        os.write(2, f"cannot start {plan['argv'][0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def in_process(run) -> int:
    """The exit code of the trainer's own main function."""
    try:
        code = run()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code or 0


def trim(directory: str, limit: int) -> None:
    """Moves a log over half its limit to output.1.log and starts it anew; the work appends on undisturbed."""
    path = os.path.join(directory, "output.log")
    try:
        if os.path.getsize(path) <= limit // 2:
            return
        with open(path, "rb+") as handle:
            handle.seek(max(0, os.path.getsize(path) - limit // 2))
            tail = handle.read(limit // 2)
            temporary = os.path.join(directory, ".output.1.log")
            with open(temporary, "wb") as older:
                older.write(tail)
            os.rename(temporary, os.path.join(directory, "output.1.log"))
            handle.truncate(0)
    except OSError:
        pass  # a full disk must not end the watch


def reap(pid: int):
    """Collects what ended, inherited orphans too; (status, usage) once that was the work itself."""
    while True:
        try:
            done, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if done == 0:
            return None
        if done == pid:
            return status, usage


def end_group(pid: int, number: int) -> None:
    """Signals the work's group. Repeated by the caller: in its first moments the work has no group yet, or still
    ignores the signal."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass


def watch(directory: str, plan: dict, begun: int, lock: int, run) -> None:
    """Starts the work and waits for its end; then everything it left running is killed and exit.json is written."""
    kills_before = oom_kills()
    pid = os.fork()
    if pid == 0:
        become_work(directory, plan, [begun, lock], run)
    os.close(begun)  # the work's copy closes when it is what it is to be: only then does the first process see the end of the pipe
    # Counted on a clock that nobody sets: the wall clock may jump while the work runs.
    time_over = time.monotonic() + (plan["deadline"] / 1000 - time.time())
    reason = None
    kill_at = None
    pause = 0.01
    while (ended := reap(pid)) is None:
        now = time.monotonic()
        if now > time_over:
            reason = "killed: its time was over"
            kill_at = kill_at or now + plan["grace_s"]
            end_group(pid, signal.SIGKILL if now > kill_at else signal.SIGTERM)
        trim(directory, plan["log_bytes"])
        time.sleep(pause)
        pause = min(TICK_S, pause * 2)
    status, usage = ended
    while left := children():
        for child in left:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)
        reap(-1)
    code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    if reason is None and code == 137:
        reason = "killed: out of memory" if oom_kills() > kills_before else "killed by a signal from outside"
    if reason is None and code > 128:
        reason = f"ended by signal {code - 128}"
    record = {"exit_code": code, "reason": reason, "at": int(time.time() * 1000), "max_rss_kb": usage.ru_maxrss}
    while True:
        try:
            write_json(directory, "exit.json", record)
            return
        except FileNotFoundError:
            return  # the directory was removed: nobody asks any more
        except OSError:
            time.sleep(1)  # disk full: the last word is worth waiting for


def launch(directory: str, run=None) -> int:
    """Detaches by the double fork, takes the lock, and watches. The first process returns once the work has begun or
    cannot."""
    ready, begun = os.pipe()
    if (first := os.fork()) > 0:
        os.close(begun)
        os.waitpid(first, 0)
        os.read(ready, 1)
        return 0
    os.close(ready)
    os.setsid()
    if os.fork() > 0:
        os._exit(0)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # From here on nobody reads this program's output: it goes where the work's goes.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(os.path.join(directory, "output.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    lock = os.open(os.path.join(directory, "lock"), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os._exit(0)  # another one watches already
    if os.path.exists(os.path.join(directory, "started.json")):
        os._exit(0)
    with open(os.path.join(directory, "launch.json")) as handle:
        plan = json.load(handle)
    watch(directory, plan, begun, lock, run)
    os._exit(0)


def stay_warm(sources: str) -> int:
    """Loads the trainer, then forks a launcher for every line of standard input until that ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print what they like
    sys.path.insert(0, sources)
    from finetune_trainer.launch import warm

    run = warm.prepare()
    print("ready", file=answers, flush=True)
    # Read without a buffer: what is left in one would be there in every fork.
    while line := read_line(0):
        asked = json.loads(line)
        if (first := os.fork()) == 0:
            os.environ.clear()
            os.environ.update(asked["env"])
            os.close(answers.fileno())
            os._exit(launch(asked["directory"], run))
        _, status = os.waitpid(first, 0)
        print(json.dumps({"directory": asked["directory"], "ok": status == 0}), file=answers, flush=True)
    return 0


def read_line(descriptor: int) -> bytes:
    """The next line, or nothing at the end."""
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := os.read(descriptor, 1)):
            return b""
        line += byte
    return line


def main() -> int:
    """One launch, or a warm launcher."""
    return stay_warm(sys.argv[2]) if sys.argv[1] == "--warm" else launch(sys.argv[1])


if __name__ == "__main__":
    sys.exit(main())
