"""Supervises one piece of work: starts it detached, bounds its log, and records its exit, also while no server runs.

Usage: python -I launcher.py STATE_DIR. Reads STATE_DIR/launch.json. The work inherits the environment of this program,
which uses only the standard library.
With --warm SOURCES_DIR, it loads the trainer's libraries before there is work and prints `ready`. For each line
`{"directory", "env"}` on standard input, it forks a launcher and answers with a line. It exits with its standard input.
Files: started.json (written by the work just before exec), exit.json (the result), output.log and output.1.log, lock
(held while the work runs).
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
    """Writes a file atomically: to a temporary file, flushed to disk, then renamed."""
    temporary = os.path.join(directory, f".{name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        json.dump(value, handle)
        handle.flush()
        os.fsync(handle.fileno())
    os.rename(temporary, os.path.join(directory, name))


def start_time(pid: int) -> int:
    """Start time of `pid` in clock ticks since boot. With the pid, it identifies a process even when pids are reused."""
    with open(f"/proc/{pid}/stat") as handle:
        return int(handle.read().rpartition(")")[2].split()[19])


def boot_id() -> str:
    """Identifies the boot of the machine, because start times of different boots are not comparable."""
    with open("/proc/sys/kernel/random/boot_id") as handle:
        return handle.read().strip()


def oom_kills() -> int:
    """Number of out-of-memory kills by the kernel so far; 0 when unknown."""
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
    """Running children of this program. As a subreaper, it inherits the leftover processes of the work."""
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
    """In the forked child: creates a session, sets limits, writes started.json, then calls exec or `run`. Never returns."""
    try:
        os.setsid()
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if plan["nice"]:
            os.nice(plan["nice"])
        try:
            # When memory runs out, the kernel should kill the work, not the server.
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
            for descriptor in ours:  # without exec, they stay open
                os.close(descriptor)
            ctypes.CDLL(None).prctl(PR_SET_NAME, b"ftl-trainer", 0, 0, 0)  # its command line is that of the warm launcher
            os._exit(in_process(run))
        os.execvpe(plan["argv"][0], plan["argv"], os.environ)
    except OSError as error:
        os.write(2, f"cannot start {plan['argv'][0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def in_process(run) -> int:
    """The exit code of the trainer's main function."""
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
    """Copies a log over half its limit to output.1.log and truncates it. The work continues to append."""
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
        pass  # a full disk must not end the launcher


def reap(pid: int):
    """Reaps exited children and inherited orphans. Returns (status, usage) when the work itself exited."""
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
    """Signals the process group of the work. The caller repeats it, because right after the start the work has no
    group or ignores the signal."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass


def watch(directory: str, plan: dict, begun: int, lock: int, run) -> None:
    """Starts the work and waits for its end, then kills its leftover processes and writes exit.json."""
    kills_before = oom_kills()
    pid = os.fork()
    if pid == 0:
        become_work(directory, plan, [begun, lock], run)
    # The copy of the work closes on exec. Then the first process sees the end of the pipe.
    os.close(begun)
    # Uses the monotonic clock, because the wall clock can jump.
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
            return  # the directory was deleted, so the result is not needed
        except OSError:
            time.sleep(1)  # full disk: try again until the result is stored


def launch(directory: str, run=None) -> int:
    """Detaches with a double fork, takes the lock, and supervises. The first process returns when the work has started
    or failed to start."""
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
    # From here on, the output of this program goes to the log of the work.
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
        os._exit(0)  # another launcher has the lock
    if os.path.exists(os.path.join(directory, "started.json")):
        os._exit(0)
    with open(os.path.join(directory, "launch.json")) as handle:
        plan = json.load(handle)
    watch(directory, plan, begun, lock, run)
    os._exit(0)


def stay_warm(sources: str) -> int:
    """Loads the trainer, then forks a launcher for each line of standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries must not mix with the answers
    sys.path.insert(0, sources)
    from finetune_trainer.launch import warm

    run = warm.prepare()
    print("ready", file=answers, flush=True)
    # Reads without a buffer, because every fork would inherit its content.
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
    """The next line; empty at the end."""
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
