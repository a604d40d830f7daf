"""The files of a run folder, by which the commands and a gateway's process know of each other. The
folder is the process's own working folder, so the engine takes these paths as they are. And how
long a gateway may take to stop. Here for both sides: standard library only.
"""

from pathlib import Path

STATE = Path("state.json")
CONFIG = Path("litellm_config.yaml")
GUNICORN = Path("gunicorn.conf.py")
LOG = Path("gateway.log")
OLD_LOG = Path(f"{LOG}.1")  # what was in it when it had grown large
HANDOVER = Path("handover.json")  # keys for the next worker, which the master deletes as it reads
LEASES = Path("leases")  # each session holds a shared lock on it
ON_DEMAND = Path("on-demand")  # there when the gateway was started by a session
PROVEN = Path("proven")  # names the configuration of a start that has served

WORKERS = Path("workers")  # a file for each worker that serves: its pid, and its configuration
BOUND = WORKERS / "bound"  # there once the port is held
FORKED = WORKERS / "forked"  # how many workers were ever forked
WANTED = WORKERS / "wanted"  # how many workers the master is told to keep
SERVED = WORKERS / "served"  # there once any worker has served
FAILED = WORKERS / "failed"  # there when the newest worker could not start
PROVING = WORKERS / "proving"  # what PROVEN will be
CRASHED = WORKERS / "crashed"  # why the gateway gave up, if it did
IDLE = WORKERS / "idle"  # there when the gateway stops by itself

GRACEFUL_SECONDS = 30  # what open streams get when the gateway stops
STOP_SECONDS = GRACEFUL_SECONDS + 10  # until `down` kills it
EXIT_SECONDS = STOP_SECONDS + 5  # until others give it up: sessions, systemd, launchd


def dismissed(pid: int) -> Path:
    """There for a worker that a command kills, which is no crash."""
    return WORKERS / f"dismissed-{pid}"
