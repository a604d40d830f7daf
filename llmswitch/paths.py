"""Every path of llmswitch: what the user writes, what we generate, what we ship.

Standard library only, because the wrapper imports this on every start.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from llmswitch.errors import LlmswitchError

LOOPBACK = "127.0.0.1,localhost,::1"  # what NO_PROXY must hold for a gateway on this machine
PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Home(NamedTuple):
    """The two folders that hold every file of llmswitch."""

    config: Path
    state: Path

    @property
    def profiles(self) -> Path:
        """The user's profiles, one YAML file each."""
        return self.config / "profiles"

    @property
    def default_profile(self) -> Path:
        """Holds the name of the profile that is used when none is named."""
        return self.config / "default-profile"

    @property
    def gateway_key(self) -> Path:
        """The gateway's own key, made once."""
        return self.state / "gateway.key"

    @property
    def keys(self) -> Path:
        """What `key set` keeps: keys, and where the system's keyring has them."""
        return self.config / "keys.json"

    @property
    def client_keys(self) -> Path:
        """A digest of each client's key, and when it was made."""
        return self.state / "clients.json"

    @property
    def known_models(self) -> Path:
        """The models that providers have listed."""
        return self.state / "known-models.json"

    @property
    def own_files(self) -> tuple[Path, ...]:
        """What we write beside the user's profiles."""
        return self.default_profile, self.keys, self.keys.with_name("keys.lock")

    def ledger(self, profile: ProfileRef) -> Path:
        """The usage of one profile; it outlives what is generated."""
        return self.state / "ledger" / f"{profile.id}.db"

    def run(self, profile: ProfileRef) -> Path:
        """The folder of everything generated for one profile and its gateway."""
        return self.state / "run" / profile.id

    def direct(self, provider: str, profile: ProfileRef | None) -> Path:
        """The folder of everything generated for the direct wrappers of a provider."""
        return self.state / "direct" / (f"{provider}@{profile.id}" if profile else provider)


class ProfileRef(NamedTuple):
    """Which profile is meant: its name for people, its file, and a folder name for its state."""

    name: str
    file: Path
    id: str

    @property
    def argument(self) -> str:
        """What `--profile` takes to name this profile: its name, else its file."""
        return self.name if self.id == self.name else str(self.file)

    @property
    def typed(self) -> str:
        """The same as one types it in a shell."""
        return shlex.quote(self.argument)


def expanded(value: str) -> Path:
    """An absolute path, `~` expanded; a `~name` that nobody has stays as it is."""
    return Path(os.path.expanduser(value)).absolute()  # noqa: PTH111 - Path's raises for ~name


def find_home(environ: Mapping[str, str]) -> Home:
    """Where the files are: below LLMSWITCH_HOME, else in the XDG folders (on macOS too)."""
    if moved := environ.get("LLMSWITCH_HOME"):
        root = expanded(moved)
        return Home(root, root / "state")
    user = Path(environ.get("HOME") or Path.home())
    config = Path(environ.get("XDG_CONFIG_HOME") or user / ".config")
    state = Path(environ.get("XDG_STATE_HOME") or user / ".local" / "state")
    return Home(config / "llmswitch", state / "llmswitch")


def data_folder(name: str) -> Path:
    """A folder that ships with llmswitch: in the package, else in the checkout beside it."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def find_profile(home: Home, wanted: str | None, environ: Mapping[str, str]) -> ProfileRef:
    """The profile that `--profile`, LLMSWITCH_PROFILE or the default names.

    A value that has a `/` or ends in .yaml or .yml is a file, anything else a name: first of a
    profile of the user's, then of one that ships with llmswitch.
    """
    value = _wanted(home, wanted, environ)
    if value is None:
        raise LlmswitchError(
            "no profile is chosen and no default is set",
            "llmswitch init --from claude-glm    (or name one: --profile NAME or FILE)",
        )
    if "/" in value or value.endswith((".yaml", ".yml")):
        file = expanded(value)
        if not file.is_file():
            raise LlmswitchError(f"there is no profile file {value}", "check the path")
        if re.search(r"[\udc80-\udcff]", str(file)):  # bytes that could not be decoded
            raise LlmswitchError(f"the path {value} is not UTF-8 text", "rename the file")
        named = file.suffix == ".yaml" and PROFILE_NAME.fullmatch(file.stem)
        if named and file.parent.resolve() == home.profiles.resolve():
            return ProfileRef(file.stem, file, file.stem)
        digest = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]
        # The name stands in comments of generated files, so it must not end a line there.
        name = re.sub(r"[^A-Za-z0-9._-]", "_", file.stem)
        return ProfileRef(name, file, f"{name}@{digest}")
    return _named_profile(home, value)


def find_run(home: Home, wanted: str | None, environ: Mapping[str, str]) -> ProfileRef:
    """The same, but one whose file is gone is known by its name while it has a folder: its gateway
    may run.
    """
    try:
        return find_profile(home, wanted, environ)
    except LlmswitchError:
        name = _wanted(home, wanted, environ) or ""
        ref = ProfileRef(name, home.profiles / f"{name}.yaml", name)
        if PROFILE_NAME.fullmatch(name) and home.run(ref).is_dir():
            return ref
        raise


def find_profile_if_any(
    home: Home, wanted: str | None, environ: Mapping[str, str]
) -> ProfileRef | None:
    """The same; None where none is named and there is no default."""
    return find_profile(home, wanted, environ) if _wanted(home, wanted, environ) else None


def _wanted(home: Home, wanted: str | None, environ: Mapping[str, str]) -> str | None:
    if value := wanted or environ.get("LLMSWITCH_PROFILE"):
        return value
    with contextlib.suppress(FileNotFoundError):
        return home.default_profile.read_text(errors="replace").strip() or None
    return None


def _named_profile(home: Home, name: str) -> ProfileRef:
    if PROFILE_NAME.fullmatch(name):
        for folder in (home.profiles, data_folder("profiles")):
            file = folder / f"{name}.yaml"
            if file.is_file():
                return ProfileRef(name, file, name)
    raise LlmswitchError(
        f"there is no profile named {name!r}; there are: {', '.join(profile_names(home))}",
        f"llmswitch init --from claude-glm, or write {home.profiles / 'NAME.yaml'}",
    )


def profile_names(home: Home) -> list[str]:
    """The names that `--profile` takes: the user's own profiles and the ready-made ones."""
    folders = (home.profiles, data_folder("profiles"))
    return sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})


def stamp(file: Path) -> str:
    """Changes whenever a file is written anew or replaced."""
    status = file.stat()
    return f"{status.st_ino}:{status.st_mtime_ns}:{status.st_size}"


def make_private_folder(folder: Path) -> None:
    """Make a folder and its missing parents, all such that only the user can enter (0700)."""
    for part in reversed([folder, *folder.parents]):
        if not part.is_dir():
            part.mkdir(mode=0o700, exist_ok=True)


def write_private(file: Path, content: str | bytes, mode: int = 0o600) -> None:
    """Write a whole file or nothing: a new file beside it, then a rename.

    A reader sees the old content or the new, never a part, also when we are killed.
    """
    make_private_folder(file.parent)
    data = content.encode() if isinstance(content, str) else content
    scratch = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    scratch.unlink(missing_ok=True)  # of one that was killed; or a link that somebody has put there
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(file)
    except BaseException as error:
        scratch.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk
            error.filename = str(file)
        raise


def open_own(file: Path, flags: int) -> int:
    """A descriptor of a regular file that belongs to the user; what is made is 0600.

    Raises LlmswitchError for a link, which is not followed, and for a file of somebody else's.
    """
    moved = shlex.join(["mv", str(file), f"{file}.old"])
    try:
        descriptor = os.open(file, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise LlmswitchError(f"{file} is a symbolic link and is not followed", moved) from error
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
        return descriptor
    os.close(descriptor)
    own = status.st_uid == os.geteuid()
    wrong = "is not a regular file" if own else "belongs to another user"
    raise LlmswitchError(f"{file} {wrong}", moved)


def check_own_folder(folder: Path) -> None:
    """Raises LlmswitchError for a folder in which another user could replace our files."""
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise LlmswitchError(
            f"{folder} belongs to another user",
            "name a folder of your own: export LLMSWITCH_HOME=...",
        )
    if status.st_mode & stat.S_IWOTH:
        cure = shlex.join(["chmod", "go-w", str(folder)])
        raise LlmswitchError(f"every user of this machine can write to {folder}", cure)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; waits for another process that holds it.

    Raises LlmswitchError where the file, or the folder, is not the user's own.
    """
    import fcntl

    make_private_folder(file.parent)
    check_own_folder(file.parent)
    with os.fdopen(open_own(file, os.O_WRONLY | os.O_CREAT), "w") as stream:
        os.fchmod(stream.fileno(), 0o600)
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
