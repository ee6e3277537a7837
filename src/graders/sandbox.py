"""Runs one Python grader in a sandbox: no network, no files except Python's own and a bounded /tmp, one CPU core,
bounded memory, threads and time.

Usage: python -I -B -c SOURCE [REQUEST_FILE]. The request is read from the file or from standard input; the verdict is
one line of JSON on standard output. Request: source, check (only compile), sample, item, isolation ("namespaces":
create them here; "container": the container provides it), seconds, memory_bytes, disk_bytes, hide (paths that are
never shown). Verdict: {"reward": n}, {"fine": true}, {"runtime": reason} or {"sandbox": reason}. The last one comes
with exit code 70, and only when the grader's code never started: that code can produce neither. Linux on x86_64 or
aarch64, standard library only.
"""

import ctypes
import json
import numbers
import os
import platform
import resource
import select
import signal
import struct
import sys
import time
import traceback

LIBC = ctypes.CDLL(None, use_errno=True)
NEW_NS, NEW_CGROUP, NEW_UTS, NEW_IPC, NEW_USER, NEW_PID, NEW_NET = (
    0x20000,
    0x2000000,
    0x4000000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
DETACH = 2
ROOT = "/proc"  # the new root is mounted here while it is built: no interpreter is installed below it
LIBRARIES = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store"]
EXTRAS = ["/etc/ld.so.cache", "/usr/share/zoneinfo", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"]
MAX_DETAILS = 4000
MAX_RESULT = 65_536
KEPT_OUTPUT = 2000
MAX_THREADS = 64
NO_SANDBOX = 70
# User ids inside: of the builder, and of the grader where the server runs as root. Thread limits do not apply to the
# machine's root under any id, so its graders run as nobody.
BUILDER, GRADER, NOBODY = 1000, 1001, 65_534
READ_ALL = 1 << 2  # CAP_DAC_READ_SEARCH

# Numbers of the refused system calls: (x86_64, aarch64), None where the architecture does not have the call. They start
# programs and processes, use memory outside the address-space limit, or reach rarely used parts of the kernel.
DENIED = [
    *[(57, None), (58, None), (59, 221), (322, 281)],  # fork, vfork, execve, execveat
    *[(101, 117), (310, 270), (311, 271), (312, 272), (438, 438)],  # ptrace, process_vm_*, kcmp, pidfd_getfd
    *[(272, 97), (308, 268), (165, 40), (166, 39), (155, 41), (161, 51)],  # unshare, setns, the mount calls, chroot
    *[(n, n) for n in (428, 429, 430, 431, 432, 433, 442)],  # the newer mount calls
    *[(250, 219), (248, 217), (249, 218), (321, 280), (298, 241), (323, 282)],  # keys, bpf, perf, userfaultfd
    *[(425, 425), (426, 426), (427, 427)],  # io_uring
    *[(246, 104), (320, 294), (175, 105), (313, 273), (176, 106), (169, 142)],  # kexec, modules, reboot
    *[(304, 265), (303, 264), (167, 224), (168, 225), (163, 89), (179, 60), (135, 92), (103, 116)],
    *[(319, 279), (447, 447), (29, 194), (68, 186), (64, 190)],  # memory that no address space holds
    (203, 122),  # sched_setaffinity
]
CLONE, CLONE3, SOCKET = (56, 220), (435, 435), (41, 198)


class SandboxError(Exception):
    """A part of the sandbox that cannot be created on this machine."""


def call(name: str, *args: object) -> None:
    """Calls a C function that must succeed."""
    if getattr(LIBC, name)(*args) != 0:
        number = ctypes.get_errno()
        raise SandboxError(f"{name} {args[1] if name == 'mount' else ''}: {os.strerror(number)}")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Calls mount(2)."""
    call("mount", *(None if x is None else x.encode() for x in (source, target, kind)), flags, data and data.encode())


def write_ids(name: str, text: str, pid: int | str = "self") -> None:
    """Writes a user or group id map of a process."""
    with open(f"/proc/{pid}/{name}", "w") as handle:
        handle.write(text)


def map_from_outside(maps: list) -> int:
    """Starts a process that writes the id maps of this one once it is in its namespaces, because only the machine's
    root may map two users. Returns the pipe end that starts it."""
    waits, starts = os.pipe()
    target = os.getpid()
    if os.fork():
        os.close(waits)
        return starts
    failed = 0
    try:
        LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)
        os.close(starts)
        if os.read(waits, 1):
            for name, text in maps:
                write_ids(name, text, target)
    except OSError as error:
        failed = error.errno or 1
    finally:
        os._exit(failed)


def enter_namespaces() -> int:
    """Enters new namespaces of every kind. Returns the id of the user inside who runs the grader; the only other user
    is the builder."""
    uid, gid = os.geteuid(), os.getegid()
    maps = [("setgroups", "deny"), ("uid_map", f"{BUILDER} {uid} 1"), ("gid_map", f"{BUILDER} {gid} 1")]
    if uid != 0:
        call("unshare", NEW_USER | NEW_NS | NEW_NET | NEW_PID | NEW_IPC | NEW_UTS | NEW_CGROUP)
        for name, text in maps:
            write_ids(name, text)
        return BUILDER
    maps[1] = ("uid_map", f"{BUILDER} 0 1\n{GRADER} {NOBODY} 1\n")
    start = map_from_outside(maps)
    call("unshare", NEW_USER | NEW_NS | NEW_NET | NEW_PID | NEW_IPC | NEW_UTS | NEW_CGROUP)
    os.write(start, b"1")
    os.close(start)
    failed = os.waitstatus_to_exitcode(os.wait()[1])
    if failed:
        raise SandboxError(f"the grader cannot run as a user other than root: {os.strerror(max(failed, 1))}")
    return GRADER


def show(path: str) -> None:
    """Mounts a file or directory of the machine under the same path, read-only."""
    target = ROOT + path
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "w").close()
    try:
        mount(path, target, None, BIND)
    except SandboxError:
        # Something is mounted below it: bind the whole tree and make it read-only recursively.
        mount(path, target, None, BIND | REC)
        attributes = struct.pack("QQQQ", RDONLY | NOSUID, 0, 0, 0)
        if LIBC.syscall(442, -100, target.encode(), 0x8000, attributes, len(attributes)) != 0:
            raise SandboxError(f"{path} cannot be made read-only") from None
        return
    kept = os.statvfs(target).f_flag & (NODEV | NOEXEC | 0x400 | 0x800 | 0x1000)
    kept = kept & ~0x1000 | (0x200000 if kept & 0x1000 else 0)  # relatime has another value in mount flags
    mount(None, target, None, BIND | REMOUNT | RDONLY | NOSUID | kept)


def build_root(disk_bytes: int, hidden: list, user: int) -> None:
    """Builds a new root with Python's libraries, a few devices and a tmpfs at /tmp, and nothing else."""
    mount(None, "/", None, REC | PRIVATE)
    real = {os.path.realpath(path) for path in [f"{sys.base_prefix}/lib", f"{sys.prefix}/lib", *LIBRARIES, *EXTRAS]}
    wanted = {path: "show" for path in real if os.path.exists(path)}
    # Paths that are links or behind links (a merged /usr, an environment) exist under that name too.
    names = [*LIBRARIES, f"{sys.base_prefix}/lib", f"{sys.prefix}/lib", f"{sys.prefix}/lib64"]
    links = {path: os.path.realpath(path) for path in names if os.path.realpath(path) != path}
    wanted.update({os.path.realpath(path): "hide" for path in hidden})
    wanted["/tmp"] = "scratch"
    mount("tmpfs", ROOT, "tmpfs", NOSUID | NODEV, "size=16m,mode=755,nr_inodes=4096")
    for path in sorted(wanted, key=lambda each: (each.count("/"), each)):
        target = ROOT + path
        if wanted[path] == "show":
            show(path)
        elif wanted[path] == "scratch":
            os.makedirs(target, exist_ok=True)
            mount("tmpfs", target, "tmpfs", NOSUID | NODEV, f"size={disk_bytes},mode=700,uid={user},nr_inodes=65536")
        elif os.path.isdir(target):
            mount("tmpfs", target, "tmpfs", NOSUID | NODEV, "size=16m,mode=755,nr_inodes=4096")
    for path, to in links.items():
        if not os.path.lexists(ROOT + path):
            os.makedirs(os.path.dirname(ROOT + path), exist_ok=True)
            os.symlink(to, ROOT + path)
    os.chdir(ROOT)
    if LIBC.syscall(155 if platform.machine() == "x86_64" else 41, b".", b".") != 0:
        raise SandboxError(f"pivot_root: {os.strerror(ctypes.get_errno())}")
    call("umount2", b".", DETACH)
    mount(None, "/", None, BIND | REMOUNT | RDONLY | NOSUID | NODEV)
    LIBC.sethostname(b"grader", 6)


def filter_calls() -> None:
    """Refuses the calls of DENIED, new processes, and all sockets except AF_UNIX."""
    known = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
    if platform.machine() not in known:
        raise SandboxError(f"the system call filter does not support {platform.machine()}")
    column, arch = known[platform.machine()]
    load, equal, at_least, bits, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill = 0x7FFF0000, 0x80000000

    def refuse(number: int) -> int:
        return 0x50000 | number

    program = [(load, 0, 0, 4), (equal, 1, 0, arch), (answer, 0, 0, kill), (load, 0, 0, 0)]
    program += [(at_least, 0, 1, 0x40000000), (answer, 0, 0, kill)]
    for numbers_of in DENIED:
        if numbers_of[column] is not None:
            program += [(equal, 0, 1, numbers_of[column]), (answer, 0, 0, refuse(1))]
    # glibc falls back to clone for threads when clone3 is missing.
    program += [(equal, 0, 1, CLONE3[column]), (answer, 0, 0, refuse(38))]
    program += [(equal, 0, 4, CLONE[column]), (load, 0, 0, 16), (bits, 1, 0, 0x10000), (answer, 0, 0, refuse(1))]
    program += [(answer, 0, 0, allow)]
    program += [(equal, 0, 3, SOCKET[column]), (load, 0, 0, 16), (equal, 1, 0, 1), (answer, 0, 0, refuse(13))]
    program += [(answer, 0, 0, allow)]
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    call("prctl", 22, 2, ctypes.c_char_p(header), 0, 0)


def drop_privileges(request: dict, user: int) -> None:
    """Sets limits and drops capabilities of the process that runs the grader; the last step before its code."""
    if request["isolation"] == "namespaces":  # a container limits its own threads
        resource.setrlimit(resource.RLIMIT_NPROC, (MAX_THREADS, MAX_THREADS))
        if user == GRADER:
            os.setresuid(GRADER, GRADER, GRADER)
            LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)  # a change of user clears it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_FSIZE, (request["disk_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (int(request["seconds"]) + 2,) * 2)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.nice(10)
    for capability in range(64):
        LIBC.prctl(24, capability, 0, 0, 0)  # capabilities cannot be regained; unknown numbers are ignored
    # Graders of root may read root's files, because Python's own files may be closed to other users.
    kept = READ_ALL if user == GRADER else 0
    call("capset", struct.pack("Ii", 0x20080522, 0), struct.pack("IIIIII", kept, kept, 0, 0, 0, 0))
    call("prctl", 38, 1, 0, 0, 0)  # no new privileges
    resource.setrlimit(resource.RLIMIT_AS, (request["memory_bytes"],) * 2)
    filter_calls()


def trace_of(error: BaseException, memory_bytes: int) -> str:
    """The frames of a traceback in the grader's own source, and the error."""
    if isinstance(error, MemoryError):
        return f"MemoryError: the grader may use {memory_bytes >> 20} MB of memory"
    lines = traceback.format_exception_only(type(error), error)
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == "grader.py"]
    where = "".join(f"  grader.py, line {each.lineno}, in {each.name}\n" for each in frames[-8:])
    return (where + "".join(lines)).strip()[-MAX_DETAILS:]


def verdict_of(request: dict) -> dict:
    """Runs the grader's code, in its own process only."""
    try:
        scope = {"__name__": "grader", "__builtins__": __builtins__}
        code = compile(request["source"], "grader.py", "exec", dont_inherit=True)
        if request["check"]:
            return {"fine": True}
        exec(code, scope)
        grade = scope.get("grade")
        if not callable(grade):
            return {"runtime": "The source defines no function grade(sample, item)."}
        value = grade(request["sample"], request["item"])
        if not isinstance(value, numbers.Real):
            return {"runtime": f"grade returned {type(value).__name__}; it must return a number."}
        reward = float(value)
        if reward != reward or reward in (float("inf"), float("-inf")):
            return {"runtime": f"grade returned {reward}; it must return a finite number."}
        return {"reward": reward}
    except BaseException as error:  # SystemExit and KeyboardInterrupt count as the grader's errors too
        return {"runtime": trace_of(error, request["memory_bytes"])}


def run_grader(request: dict, user: int, results: int, output: int, setup: int) -> None:
    """In the child: isolation, limits, the grader, its verdict. Never returns."""
    try:
        LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)  # ends with the watcher
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number in (1, 2):
                os.dup2(output, number)
            if request["isolation"] == "namespaces":
                build_root(request["disk_bytes"], request["hide"], user)
            os.chdir("/tmp")
            os.dup2(results, 3)
            setup = os.dup2(setup, 4)
            os.closerange(5, 4096)
            os.environ.clear()
            os.environ.update(HOME="/tmp", TMPDIR="/tmp", LANG="C.UTF-8", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
            drop_privileges(request, user)
        except (SandboxError, OSError, ValueError) as error:
            os.write(setup, str(error)[:500].encode() or b"unknown")
            os._exit(1)
        os.close(setup)  # from here on the grader's code cannot report a missing sandbox
        verdict = verdict_of(request)
        os.write(3, json.dumps(verdict).encode())
    finally:
        os._exit(0)


def watch(child: int, results: int, output: int, setup: int, seconds: float) -> dict:
    """Reads the child's report on the sandbox setup, then the grader's verdict and output (bounded), until it ends or
    times out."""
    problem = b""
    while piece := os.read(setup, 4096):
        problem += piece
    if problem:
        os.waitpid(child, 0)
        return {"sandbox": problem.decode("utf8", "replace")}
    deadline = time.monotonic() + seconds
    reply, printed, open_ends, timed_out = b"", b"", [results, output], False
    while open_ends:
        left = deadline - time.monotonic()
        if left <= 0:
            timed_out = True
            break
        for end in select.select(open_ends, [], [], left)[0]:
            piece = os.read(end, 65_536)
            if not piece:
                open_ends.remove(end)
            elif end == results:
                reply = (reply + piece)[:MAX_RESULT]
            else:
                printed = (printed + piece)[-KEPT_OUTPUT:]
        if results not in open_ends:
            break
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if timed_out:
        return {"runtime": f"TimeoutError: the grader was stopped after {seconds:g} s"}
    try:
        verdict = json.loads(reply)
        json.dumps(verdict, allow_nan=False)
        return {"runtime": "The grader gave no result."} if "sandbox" in verdict else verdict
    except (ValueError, TypeError, RecursionError):  # the grader itself wrote to the pipe
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
        last = printed.decode("utf8", "replace").strip()
        return {"runtime": f"The grader's process ended by {how} without a result. {last}".strip()}


def main() -> dict:
    """Creates the namespaces, then a child inside them. This process is out of the grader's reach and reports."""
    if len(sys.argv) > 1:
        with open(sys.argv[1], encoding="utf8") as handle:
            request = json.load(handle)
    else:
        request = json.load(sys.stdin)
    LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)  # ends with the server
    try:
        user = enter_namespaces() if request["isolation"] == "namespaces" else os.geteuid()
        # The grader may not open or interrupt a process in the same process table.
        call("prctl", 4, 0, 0, 0, 0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        results, reply = os.pipe()
        output, printed = os.pipe()
        setup, problem = os.pipe()
        child = os.fork()
    except (SandboxError, OSError) as error:
        return {"sandbox": str(error)[:500]}
    if child == 0:
        run_grader(request, user, reply, printed, problem)
    for end in (reply, printed, problem):
        os.close(end)
    return watch(child, results, output, setup, request["seconds"])


outcome = main()
print(json.dumps(outcome))
sys.exit(NO_SANDBOX if "sandbox" in outcome else 0)
