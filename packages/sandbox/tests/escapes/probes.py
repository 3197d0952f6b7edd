"""Attacks, each a small program: `probes.py NAME CONTEXT`. It prints ESCAPED if it got through.

It prints LACKS where this kernel or machine has no such thing to attack. CONTEXT is JSON made by
`bait.py`. Only the standard library is used, and nothing is changed that is not put back.
"""

import ctypes
import json
import mmap
import os
import pty
import resource
import signal
import socket
import struct
import sys
from pathlib import Path

ROOT_ONLY = set()
"""Attacks that only root can do even without a sandbox."""

PROBES = {}

_libc = ctypes.CDLL(None, use_errno=True)
EPERM, ENOSYS = 1, 38


class Lacks(Exception):
    """There is no such thing here."""


def probe(function):
    PROBES[function.__name__] = function
    return function


def root_only(function):
    ROOT_ONLY.add(function.__name__)
    return probe(function)


def reached(context, name, *arguments):
    """Whether the kernel looked at the arguments of a system call."""
    ctypes.set_errno(0)
    number = context["numbers"].get(name)
    if number is None:
        raise Lacks
    answer = _libc.syscall(number, *[ctypes.c_long(argument) for argument in arguments])
    error = ctypes.get_errno()
    if error == ENOSYS and not context["inside"]:
        raise Lacks
    return answer >= 0 or error not in (EPERM, ENOSYS)


# --- files ------------------------------------------------------------------------------------


@root_only
def read_shadow(context):
    return bool(Path("/etc/shadow").read_bytes())


@probe
def read_home(context):
    return "secret" in Path(context["home"], "notes").read_text()


@probe
def read_ssh_key(context):
    return "secret" in Path(context["home"], ".ssh/id_ed25519").read_text()


@probe
def read_through_a_symlink(context):
    link = Path(context["workspace"], "free/look")
    link.symlink_to(Path(context["home"], "notes"))
    return "secret" in link.read_text()


@probe
def read_beside_the_workspace(context):
    return "secret" in Path(context["workspace"], "..", "home", "notes").read_text()


@probe
def read_hidden(context):
    return "secret" in Path(context["workspace"], ".env").read_text()


@probe
def read_hidden_after_renaming_its_folder(context):
    folder = Path(context["workspace"], "deep/keys")
    folder.parent.rename(folder.parent.with_name("moved"))
    return "secret" in Path(context["workspace"], "moved/keys/token").read_text()


@root_only
def read_through_the_first_process(context):
    if not context["inside"] and not os.access("/proc/1/root", os.X_OK):
        raise Lacks  # a container whose root is not the machine's
    return "secret" in Path("/proc/1/root", context["home"].lstrip("/"), "notes").read_text()


@probe
def read_through_a_process_of_the_host(context):
    place = Path("/proc", str(context["victim"]), "root", context["home"].lstrip("/"), "notes")
    return "secret" in place.read_text()


@probe
def write_outside(context):
    Path(context["home"], "written").write_text("x")
    return True


@probe
def write_outside_through_a_symlink(context):
    link = Path(context["workspace"], "free/out")
    link.symlink_to(context["home"])
    Path(link, "written too").write_text("x")
    return True


@probe
def link_a_file_from_outside(context):
    inner = Path(context["workspace"], "free/hard")
    inner.hardlink_to(Path(context["home"], "notes"))
    return "secret" in inner.read_text()


@probe
def move_a_file_outside(context):
    source = Path(context["workspace"], "free/payload")
    source.write_text("x")
    source.rename(Path(context["home"], "payload"))
    return True


@probe
def write_git_hook(context):
    Path(context["workspace"], ".git/hooks/pre-commit").write_text("x")
    return True


@probe
def write_git_config(context):
    with Path(context["workspace"], ".git/config").open("a") as file:
        file.write("[core]\n\tfsmonitor = evil\n")
    return True


@probe
def replace_git_config(context):
    other = Path(context["workspace"], ".git/config.lock")
    other.write_text("x")
    other.rename(Path(context["workspace"], ".git/config"))
    return True


@probe
def rename_git_folder_and_make_another(context):
    git = Path(context["workspace"], ".git")
    git.rename(git.with_name("not-git"))
    git.joinpath("hooks").mkdir(parents=True)
    git.joinpath("hooks/pre-commit").write_text("x")
    return True


@probe
def make_an_absent_protected_file(context):
    place = Path(context["workspace"], ".mcp.json")
    if place.is_dir():
        place.rmdir()
    place.write_text("{}")
    return True


@probe
def make_an_absent_protected_file_in_an_absent_folder(context):
    place = Path(context["workspace"], ".github/workflows/evil.yml")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("x")
    return True


@probe
def write_where_only_reading_was_granted(context):
    Path(context["library"], "module.py").write_text("x")
    return True


@probe
def write_system_folder(context):
    """Root may write the first without a sandbox, and anybody the second."""
    for folder in ("/usr", "/var/tmp"):
        try:
            place = Path(folder, context["temporary"])
            place.write_text("x")
            place.unlink()
        except OSError:
            continue
        return True
    return False


@probe
def make_a_setuid_file(context):
    place = Path(context["workspace"], "free/suid")
    place.write_text("x")
    place.chmod(0o4755)
    return bool(place.stat().st_mode & 0o4000)


@probe
def make_a_setuid_file_by_opening_it(context):
    place = Path(context["workspace"], "free/suid2")
    os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o4755))
    return bool(place.stat().st_mode & 0o4000)


@probe
def leave_by_an_open_folder(context):
    """Nothing that was open outside shows up here."""
    for fd in range(3, 64):
        try:
            os.lseek(fd, 0, os.SEEK_SET)
            if b"secret" in os.read(fd, 64):
                return True
        except OSError:
            continue
    return False


@probe
def read_shared_memory_file(context):
    return "secret" in Path("/dev/shm", context["shared"]).read_text()


@probe
def write_temporary_folder_of_the_host(context):
    """The bait looks there afterwards."""
    place = Path("/tmp", context["temporary"])
    place.write_text("x")


# --- the machine ------------------------------------------------------------------------------


@root_only
def set_core_pattern(context):
    place = Path("/proc/sys/kernel/core_pattern")
    place.write_text(place.read_text())
    return True


@root_only
def write_sysfs(context):
    place = Path("/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan")
    if not context["inside"] and not place.exists():
        raise Lacks
    place.write_text(place.read_text())
    return True


@root_only
def read_a_disk(context):
    for line in Path("/proc/partitions").read_text().splitlines()[2:]:
        name = line.split()[-1]
        try:
            os.close(os.open(Path("/dev", name), os.O_RDONLY))
        except OSError:
            continue
        return True
    if context["inside"]:
        return False
    raise Lacks  # a container that was given none


@root_only
def make_a_device(context):
    place = Path(context["workspace"], "free/device")
    os.mknod(place, 0o600 | 0o020000, os.makedev(1, 1))
    return True


@root_only
def mount(context):
    target = Path(context["workspace"], "free/mount")
    target.mkdir()
    if _libc.mount(b"tmpfs", os.fsencode(target), b"tmpfs", 0, None) == 0:
        _libc.umount2(os.fsencode(target), 2)
        return True
    return False


@root_only
def change_root(context):
    os.chroot(context["workspace"])
    return True


@root_only
def become_root(context):
    os.setresuid(0, 0, 0)
    return not context["inside"] or int(Path("/proc/self/uid_map").read_text().split()[1]) == 0


@root_only
def set_host_name(context):
    name = socket.gethostname()
    socket.sethostname(name)
    return True


@root_only
def reach_reboot(context):
    return reached(context, "reboot", 0, 0, 0, 0)


@root_only
def reach_bpf(context):
    return reached(context, "bpf", 0, 0, 0)


@root_only
def reach_module_loading(context):
    return reached(context, "finit_module", -1, 0, 0)


@probe
def gain_privileges_by_setuid_programs(context):
    return _libc.prctl(39, 0, 0, 0, 0) == 0  # PR_GET_NO_NEW_PRIVS


@probe
def make_a_user_namespace(context):
    return reached(context, "unshare", 0x10000000)


@probe
def make_a_user_namespace_by_clone(context):
    return reached(context, "clone", 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0) and _in_child_too()


def _in_child_too():
    """`clone` without a stack is a fork: the child has nothing more to do."""
    if os.getpid() != _STARTED_AS:
        os._exit(0)
    return True


@probe
def make_a_user_namespace_by_clone3(context):
    return reached(context, "clone3", 0, 0)


@probe
def reach_io_uring(context):
    return reached(context, "io_uring_setup", 1, 0)


@probe
def reach_keys(context):
    return reached(context, "keyctl", 0, -3, 1)


@probe
def reach_userfaultfd(context):
    return reached(context, "userfaultfd", 1)


@probe
def reach_perf_events(context):
    return reached(context, "perf_event_open", 0, 0, -1, -1, 0)


@probe
def reach_by_the_32_bit_gate(context):
    if os.uname().machine != "x86_64":
        raise Lacks
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, getpid; int 0x80; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    child = os.fork()
    if child == 0:
        os._exit(0 if ctypes.CFUNCTYPE(ctypes.c_int)(address)() == os.getpid() else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status and not context["inside"]:
        raise Lacks
    return status == 0


@probe
def reach_by_x32_numbers(context):
    if os.uname().machine != "x86_64":
        raise Lacks
    ctypes.set_errno(0)
    answer = _libc.syscall(0x40000000 + 39)  # getpid
    if answer < 0 and not context["inside"]:
        raise Lacks
    return answer == os.getpid()


@probe
def push_input_into_a_terminal(context):
    """A terminal of our own will do: the call itself must not be there."""
    child, fd = pty.fork()
    if child == 0:
        ctypes.set_errno(0)
        done = _libc.ioctl(0, 0x5412, b"x") == 0
        os._exit(0 if done or ctypes.get_errno() != EPERM else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(fd)
    return status == 0


# --- other processes --------------------------------------------------------------------------


@probe
def read_environment_of_the_host(context):
    return b"secret" in Path("/proc", str(context["victim"]), "environ").read_bytes()


@probe
def find_a_secret_in_some_environment(context):
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"BAIT=secret" in (folder / "environ").read_bytes():
                return True
        except OSError:
            continue
    return False


@probe
def inherit_a_secret(context):
    return os.environ.get("BAIT") == "secret"


@probe
def signal_a_process_of_the_host(context):
    os.kill(context["victim"], signal.SIGCONT)
    return True


@probe
def trace_a_process_of_the_host(context):
    if _libc.ptrace(16, context["victim"], 0, 0) != 0:
        return False
    os.waitpid(context["victim"], 0x40000000)
    return _libc.ptrace(17, context["victim"], 0, 0) == 0


@probe
def read_memory_of_a_process_of_the_host(context):
    with Path("/proc", str(context["victim"]), "mem").open("rb"):
        return True


@probe
def trace_at_all(context):
    return reached(context, "ptrace", 0, 0, 0, 0)  # PTRACE_TRACEME


@probe
def reach_process_vm(context):
    return reached(context, "process_vm_readv", os.getpid(), 0, 0, 0, 0, 0)


@probe
def reach_system_v_memory(context):
    return _libc.shmget(context["memory_key"], 0, 0) >= 0


@probe
def live_on_as_a_daemon(context):
    """The bait looks whether somebody still holds the lock."""
    import fcntl

    ready_r, ready_w = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(1, 32):
                if number not in (signal.SIGKILL, signal.SIGSTOP):
                    signal.signal(number, signal.SIG_IGN)
            lock = os.open(Path(context["workspace"], "free/lock"), os.O_RDWR | os.O_CREAT)
            fcntl.flock(lock, fcntl.LOCK_EX)
            Path(context["workspace"], "free/daemon").write_text(str(os.getpid()))
            os.write(ready_w, b"+")
            os.closerange(0, lock)
            os.closerange(lock + 1, 64)
            while True:
                signal.pause()
        os._exit(0)
    os.close(ready_w)
    os.read(ready_r, 1)


# --- the network ------------------------------------------------------------------------------


@probe
def connect_to_the_host(context):
    with socket.create_connection(("127.0.0.1", context["tcp"]), 5) as connection:
        return connection.recv(16) == b"secret"


@probe
def send_a_datagram_to_the_host(context):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.settimeout(5)
        there.connect(("127.0.0.1", context["udp"]))
        there.send(b"?")
        return there.recv(16) == b"secret"


@probe
def ask_for_a_name(context):
    """Send a question to the name server, as a resolver would."""
    question = struct.pack(">6H", 1, 0x100, 1, 0, 0, 0) + b"\7example\3com\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.settimeout(1)
        there.sendto(question, ("127.0.0.1", context["udp"]))
        return there.recv(512) == b"secret"


@probe
def reach_another_network(context):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        try:
            there.connect(("192.0.2.1", 9))  # a route is looked up, nothing is sent
        except OSError:
            if not context["inside"]:
                raise Lacks from None
            raise
        return True


@probe
def connect_to_a_socket_of_the_host(context):
    with socket.socket(socket.AF_UNIX) as there:
        there.connect(context["unix"])
        return there.recv(16) == b"secret"


@probe
def connect_to_an_abstract_socket_of_the_host(context):
    with socket.socket(socket.AF_UNIX) as there:
        there.connect("\0" + context["abstract"])
        return there.recv(16) == b"secret"


@probe
def reach_the_hypervisor(context):
    try:
        socket.socket(40, socket.SOCK_STREAM).close()  # AF_VSOCK
    except OSError:
        if not context["inside"]:
            raise Lacks from None
        return False
    return True


@probe
def reach_the_crypto_sockets(context):
    try:
        socket.socket(38, socket.SOCK_SEQPACKET).close()  # AF_ALG
    except OSError:
        if not context["inside"]:
            raise Lacks from None
        return False
    return True


@probe
def listen_to_kernel_events(context):
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15).close()  # KOBJECT_UEVENT
    return True


@root_only
def make_a_raw_socket(context):
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return True


@root_only
def make_a_packet_socket(context):
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    return True


# --- using up what there is -------------------------------------------------------------------


@probe
def start_too_many_processes(context):
    wanted = context["limits"]["processes"] + 20
    read, write = os.pipe()
    started = 0
    try:
        for _ in range(wanted):
            if os.fork() == 0:
                os.close(write)
                os.read(read, 1)
                os._exit(0)
            started += 1
    finally:
        os.close(write)
    return started == wanted


@probe
def take_too_much_memory(context):
    return len(bytearray(context["limits"]["memory_bytes"])) > 0


@probe
def write_too_large_a_file(context):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Path(context["workspace"], "free/large").open("wb") as file:
        file.writelines(bytes(65536) for _ in range(context["limits"]["file_bytes"] // 65536 + 1))
    return True


@probe
def fill_the_temporary_folder(context):
    half = bytes(context["limits"]["file_bytes"] // 2)
    places = [Path("/tmp", f"{context['temporary']}-{number}") for number in range(3)]
    try:
        for place in places:
            place.write_bytes(half)
    finally:
        for place in places:
            place.unlink(missing_ok=True)
    return True


@probe
def open_too_many_files(context):
    wanted = context["limits"]["open_files"] + 1
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted + 8, hard), hard))
    return len([os.open("/dev/null", os.O_RDONLY) for _ in range(wanted)]) == wanted


@probe
def compute_for_too_long(context):
    while sum(os.times()[:2]) < context["limits"]["cpu_s"] + 0.3:
        pass
    return True


@probe
def raise_own_limits(context):
    for limit in (resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_AS):
        _, hard = resource.getrlimit(limit)
        if hard != resource.RLIM_INFINITY and limit != resource.RLIMIT_NPROC:
            resource.setrlimit(limit, (hard + 1, hard + 1))
    return True


_STARTED_AS = os.getpid()


def main():
    name, context = sys.argv[1], json.loads(sys.argv[2])
    try:
        print("ESCAPED" if PROBES[name](context) else "held")
    except Lacks:
        print("LACKS")
    except (OSError, MemoryError, ValueError) as error:
        print(f"held: {error!r}")


if __name__ == "__main__":
    main()
