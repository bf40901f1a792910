"""What a client requires of a node's Python: `numpy`, `numpy>=1.26`, `mypackage.tools`; checked at the node.

Nothing is imported to see whether it is there: a package may start threads, which a process that forks must not have.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

from parkcos.errors import ConfigError

# `packaging` is imported where it is used: most clients require nothing, and need not wait for it.
if TYPE_CHECKING:
    from packaging.markers import Marker
    from packaging.specifiers import SpecifierSet

EXAMPLES = "write the name of a package or module, as 'numpy', 'numpy>=1.26', 'scipy==1.*' or 'mypackage.tools'"


@dataclass(frozen=True)
class Requirement:
    """One requirement.

    name: of an installed distribution, or of a module.
    versions: None for any.
    marker: where it applies; None: everywhere.
    """

    text: str
    name: str
    versions: SpecifierSet | None = None
    marker: Marker | None = None


def parse_requirement(text: Any) -> Requirement:
    """Read a requirement: a PEP 508 name with version specifiers and marker, or a module's name.

    Raises: ConfigError if it is none, or says what cannot be checked (extras, a URL).
    """
    from packaging import requirements as pep508

    if not isinstance(text, str):
        raise ConfigError(f"the requirement {text!r} is no text: {EXAMPLES}")
    text = text.strip()
    try:
        found = pep508.Requirement(text)
    except pep508.InvalidRequirement as error:
        if all(part.isidentifier() for part in text.split(".")):
            return Requirement(text, text)
        why = str(error).partition("\n")[0]
        raise ConfigError(f"the requirement {text!r} cannot be understood ({why}): {EXAMPLES}") from None
    if found.extras or found.url or re.search(r"\bextra\b", str(found.marker or "")):
        what = "a URL" if found.url else "extras"
        raise ConfigError(f"the requirement {text!r} names {what}, which cannot be checked at a node: {EXAMPLES}")
    return Requirement(text, found.name, found.specifier or None, found.marker)


def parse_requirements(texts: Any) -> list[str]:
    """What `Client(requirements=...)` was given, checked, as it travels.  Raises: ConfigError."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise ConfigError(f"requirements={texts!r}: give a list, as requirements=['numpy>=1.26', 'scipy']")
    return [parse_requirement(text).text for text in texts]


def what_is_missing(texts: Sequence[str], brought: Collection[str] = ()) -> list[str]:
    """Which of these requirements this process's Python does not meet, and why, in words.

    Args:
        brought: modules that the client has brought along.
    """
    if not texts:
        return []
    importlib.invalidate_caches()  # what has been installed since this process began counts
    reasons = [(text, _why_not(parse_requirement(text), brought)) for text in texts]
    return [f"{text}: {why}" for text, why in reasons if why]


def _why_not(wanted: Requirement, brought: Collection[str]) -> str:
    """Why this requirement is not met; "" if it is."""
    if wanted.marker is not None and not wanted.marker.evaluate():
        return ""
    installed = [version] if (version := _version(wanted.name)) else []
    if not installed and wanted.name not in brought and not is_importable(wanted.name):
        return "it is not installed"
    if wanted.versions is None:
        return ""
    if not installed:
        from importlib import metadata

        packages = metadata.packages_distributions().get(wanted.name.partition(".")[0], ())
        installed = [version for package in dict.fromkeys(packages) if (version := _version(package))]
    if not installed:
        return f"there is a module {wanted.name}, but no installed package that gives it a version"
    if any(_is_among(version, wanted.versions) for version in installed):
        return ""
    return f"version {' and '.join(installed)} is installed"


def _version(package: str) -> str:
    """The version of an installed package; "" if it is not installed, or does not say."""
    from importlib import metadata  # takes long to import, and most clients require nothing

    try:
        return metadata.version(package) or ""
    except (metadata.PackageNotFoundError, KeyError, ValueError):
        return ""


def _is_among(version: str, versions: SpecifierSet) -> bool:
    from packaging.version import InvalidVersion

    try:
        return versions.contains(version, prereleases=True)  # it is installed: somebody has wanted it
    except InvalidVersion:
        return False


def is_importable(name: str) -> bool:
    """Whether there is a module of this name; imports nothing."""
    if name in sys.modules:
        return True
    head, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(head)
    except (ImportError, ValueError):
        return False
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return False
        spec = PathFinder.find_spec(f"{spec.name}.{part}", spec.submodule_search_locations)
    return spec is not None
