"""Machines reached by SSH, played by namespaces of this one: each has its own network, processes, hostname, root folder and sshd.

Nothing of it is seen from outside and nothing outlives its process: networks have no names, every root folder is an overlay in memory
over this machine's, and the kernel ends all of a machine with its first process, which ends with the tests.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

DESK = "10.77.0.254"
"""Where the user sits; also the switch between all machines."""
COMMANDS = ("sshd", "ssh-keygen", "rsync", "ip", "unshare", "nsenter", "setpriv", "chroot", "mount")
PATH = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PATIENCE = (
    "RAY_raylet_start_wait_time_s=900",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S=900",
    "RAY_worker_register_timeout_seconds=900",
    "RAY_agent_register_timeout_ms=900000",
    "RAY_gcs_server_request_timeout_seconds=300",
    "AUTOSCALER_HEARTBEAT_TIMEOUT_S=600",
)
"""In the shells of all machines: one that plays four, and has more to do, starts Ray slower than Ray waits for."""
NAMESPACES = ("--net", "--pid", "--mount", "--uts")
BOOT_TIMEOUT_S = 600.0
BOOT = r"""
name=$1 address=$2 desk=$3 scratch=$4 path=$5 patience=$6; shift 6
memory=$(mktemp -d "$scratch/machine-XXXX"); mount -t tmpfs -o size=2g machine "$memory"
root=$memory/root
overlay() {
  mkdir -p "$memory/$2/upper" "$memory/$2/work" "$3"
  mount -t overlay "$name" -o "lowerdir=$1,upperdir=$memory/$2/upper,workdir=$memory/$2/work" "$3"
}
overlay / first "$root"
number=0
for folder in "$@"; do  # Python and the code, where they lie on other file systems
  if [ "$(stat -c %d "$folder")" != "$(stat -c %d /)" ]; then
    number=$((number + 1)); overlay "$folder" "more$number" "$root$folder"
  fi
done
mount --rbind /dev "$root/dev"; mount --rbind /sys "$root/sys"; mount -t proc proc "$root/proc"
mkdir -p "$root/shared" "$root/root/.ray" "$root/tmp/ray" "$root$scratch"
mount --bind "$scratch/shared" "$root/shared"; mount --bind "$scratch" "$root$scratch"
for folder in dev/shm run root/.ray tmp/ray; do mount -t tmpfs -o size=1g machine "$root/$folder"; done
mkdir "$root/run/sshd"
hostname "$name"
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" > "$root/etc/hosts"
rm -f "$root/etc/resolv.conf"; : > "$root/etc/resolv.conf"  # no name server but oneself, where none answers: a look-up fails at once
sed -i 's/^root:[^:]*:/root:*:/' "$root/etc/shadow"  # a locked account may not log in with a key
: > "$root/root/.bashrc"
printf 'export PATH=%s\n' "$path" > "$root/root/.bash_profile"; printf 'export %s\n' $patience >> "$root/root/.bash_profile"
ip link set lo up
if [ "$address" = "$desk" ]; then
  ip link add switch type bridge; ip addr add "$address/24" dev switch; ip link set switch up
  touch "$scratch/$name.up"; exec chroot "$root" sleep infinity
fi
until ip link show eth0 >/dev/null 2>&1; do sleep 0.1; done
ip addr add "$address/24" dev eth0; ip link set eth0 up; ip route add default via "$desk"
touch "$scratch/$name.up"
cat > "$scratch/$name.sshd" <<END
ListenAddress $address
HostKey $scratch/host_key
AuthorizedKeysFile $scratch/key.pub
PasswordAuthentication no
UsePAM no
StrictModes no
PidFile none
END
exec chroot "$root" "$(command -v sshd)" -D -e -f "$scratch/$name.sshd"
"""


def what_is_missing() -> str | None:
    """Why this machine cannot play others; None where it can."""
    if os.geteuid() != 0:
        return "namespaces with their own root folder need root"
    path = f"{os.environ.get('PATH', '')}:{PATH}"
    if missing := [name for name in COMMANDS if shutil.which(name, path=path) is None]:
        return f"there is no command {', '.join(missing)} (packages openssh-server, rsync, iproute2, util-linux)"
    probe = 'd=$(mktemp -d); mount -t tmpfs x "$d"; mkdir "$d/u" "$d/w" "$d/r"; ip link add x type bridge'
    probe += '; mount -t overlay x -o "lowerdir=/,upperdir=$d/u,workdir=$d/w" "$d/r"; umount "$d/r" "$d"; rmdir "$d"'
    command = ["unshare", *NAMESPACES, "--fork", "--propagation=private", "bash", "-euc", probe]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"PATH": PATH})
    return None if ended.returncode == 0 else f"namespaces with a network and a root folder of their own: {ended.stderr.strip()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One of them."""

    name: str
    address: str
    process: "subprocess.Popen[bytes]"

    @property
    def first(self) -> psutil.Process:
        """The first process of its own."""
        return psutil.Process(self.process.pid).children()[0]

    def processes(self) -> list[str]:
        """Command lines of all that runs there."""
        space, found = Path(f"/proc/{self.first.pid}/ns/pid").readlink(), []
        for process in psutil.process_iter(["cmdline", "status"]):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{process.pid}/ns/pid").readlink() == space and process.info["status"] != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.info["cmdline"] or [process.name()]))
        return found

    def inside(self, *words: str) -> list[str]:
        """The command that runs `words` there."""
        return ["nsenter", f"--target={self.first.pid}", *NAMESPACES, "--root", "--wd=/", *words]

    def kill(self) -> None:
        """The machine is gone: power, network and all."""
        self.process.kill()
        self.process.wait()


class Machines:
    """A desk, and hosts that it reaches by SSH as root with the key `key`; all see the same `/shared`.

    Args:
        scratch: folder that all machines see at the same path.
        code: folders that they must see, as they are here.
    """

    def __init__(self, scratch: Path, code: list[Path]) -> None:
        self._scratch = scratch
        self._code = [str(folder) for folder in (Path(sys.prefix), Path(sys.base_prefix), *code)]
        self.key = scratch / "key"
        self.shared = scratch / "shared"
        self.all: list[Machine] = []

    @property
    def desk(self) -> Machine:
        """Where the user sits."""
        return self.all[0]

    def begin(self) -> None:
        """Start the desk."""
        self.shared.mkdir()
        for name in ("key", "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._scratch / name)], check=True, timeout=60)
        self._start("desk", DESK)

    def add(self, name: str, address: str) -> Machine:
        """Start a host and wait until one can log in."""
        host = self._start(name, address)
        self.until(lambda: "Server listening" in self._log(name), f"{name} does not listen")
        return host

    def end(self) -> None:
        """End all of them."""
        for machine in self.all:
            machine.kill()

    def until(self, happened: Callable[[], object], what: str, timeout_s: float = BOOT_TIMEOUT_S) -> None:
        """Wait until something is so."""
        end_s = time.monotonic() + timeout_s
        while not happened():
            logs = "".join(f"\n{item.name}: {self._log(item.name)[-500:]}" for item in self.all)
            assert time.monotonic() < end_s, f"{what}{logs}"
            time.sleep(0.2)

    def _log(self, name: str) -> str:
        return (self._scratch / f"{name}.log").read_text()

    def _start(self, name: str, address: str) -> Machine:
        words = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, "--fork", "--kill-child", "--propagation=private"]
        boot = ["bash", "-euc", BOOT, "boot", name, address, DESK, str(self._scratch), PATH, " ".join(PATIENCE), *self._code]
        with (self._scratch / f"{name}.log").open("wb") as log:
            process = subprocess.Popen([*words, *boot], stdout=log, stderr=log, env={"PATH": PATH, "LC_ALL": "C.UTF-8"})
        machine = Machine(name=name, address=address, process=process)
        self.all.append(machine)
        self.until(lambda: psutil.Process(process.pid).children() or process.poll() is not None, f"{name} does not start")
        if address != DESK:
            self._plug_in(machine)
        self.until(lambda: (self._scratch / f"{name}.up").exists(), f"{name} does not start")
        return machine

    def _plug_in(self, machine: Machine) -> None:
        """A cable from the switch to the machine."""
        port = f"port{len(self.all)}"
        script = f"ip link add {port} type veth peer name eth0 netns {machine.first.pid} && ip link set {port} master switch up"
        command = ["nsenter", f"--target={self.desk.first.pid}", "--net", "sh", "-c", script]
        subprocess.run(command, check=True, timeout=60, env={"PATH": PATH})


@contextlib.contextmanager
def machines(scratch: Path, code: list[Path]) -> Iterator[Machines]:
    """Machines for the time of a `with` block."""
    made = Machines(scratch, code)
    try:
        made.begin()
        yield made
    finally:
        made.end()
