"""What an installation takes on the disk, read from what is installed here."""

from __future__ import annotations

from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import CHECKOUT


def of_requirements(*requirements: str) -> float:
    """Bytes of the packages that pip would install for them, without compiled files; of llmswitch
    itself see of_llmswitch, since a checkout is installed as a link.
    """
    found: dict[tuple[str, str], Distribution] = {}
    for requirement in requirements:
        _collect(Requirement(requirement), found)
    packages = {name: package for (name, _), package in found.items()}
    return float(sum(_size(package) for package in packages.values()))


def of_llmswitch() -> float:
    """Bytes of what our wheel holds."""
    folders = [CHECKOUT / name for name in ("llmswitch", "templates", "profiles")]
    return sum(of_folder(folder) for folder in folders)


def of_folder(folder: Path) -> float:
    """Bytes of the files below it, without compiled ones."""
    return float(sum(file.stat().st_size for file in folder.rglob("*") if _counts(file)))


def _collect(requirement: Requirement, found: dict[tuple[str, str], Distribution]) -> None:
    """Add the packages of a requirement, by name and extra."""
    for extra in ("", *sorted(requirement.extras)):
        wanted = (canonicalize_name(requirement.name), extra)
        if wanted in found:
            continue
        package = found[wanted] = distribution(requirement.name)
        for needed in map(Requirement, package.requires or []):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                _collect(needed, found)


def _size(package: Distribution) -> int:
    located = (Path(str(file.locate())) for file in package.files or [])
    return sum(file.stat().st_size for file in located if _counts(file))


def _counts(file: Path) -> bool:
    return file.is_file() and "__pycache__" not in file.parts
