"""Where a module comes from, and so whether what it defines travels to the servers or is installed there.

One function decides, and says why: :func:`origin_of` for a module that is loaded, :func:`origin` for one of which only
the place is known.  What a client's program brings along travels; what somebody has installed does not, wherever it
lies: below a `site-packages`, in a folder of PYTHONPATH that `pip --target` has filled, or in a project that is
installed as editable.  Compiled code counts as installed, too: it is of one platform, and has libraries elsewhere.

It must be cheap: a module is judged once.  What has to be read for that (metadata, `.pth` files) is read when the first
module asks for it, and never if all modules are in the usual places.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

Kind = Literal["own", "installed", "compiled", "standard", "unknown"]
"""compiled: nobody has installed it, but it cannot be made from its source alone.  unknown: nothing is there."""


class Origin(NamedTuple):
    """What a module is, and in words why."""

    kind: Kind
    why: str

    @property
    def travels(self) -> bool:
        """Whether what it defines goes to the servers, which need not have it."""
        return self.kind == "own"


_PROGRAM = Origin("own", "it is the program itself")
_PARKCOS = Origin("standard", "it is parkcos itself")
_BUILT_IN = Origin("standard", "it is built into Python")
_MADE_BY_HAND = Origin("own", "the program has made it, without a file")
_IMPORTED_SOMEHOW = Origin("installed", "it has no file, and an importer of its own has made it")
_NOT_LOADED = Origin("unknown", "no such module is loaded")

_PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")


def travels_by_value(module_name: str | None) -> bool:
    """Whether what is defined in this module is the client's own: not built in, not installed, not parkcos."""
    return origin_of(module_name).kind == "own"


def origin_of(name: str | None) -> Origin:
    """What the loaded module `name` is."""
    if name in ("__main__", "__mp_main__"):
        return _PROGRAM
    module = sys.modules.get(name) if name else None
    if name is None or module is None:
        return _NOT_LOADED
    if (place := place_of(module)) is not None:
        return origin(name, place)
    if name.partition(".")[0] == "parkcos":
        return _PARKCOS
    if name in sys.builtin_module_names:
        return _BUILT_IN
    if getattr(module, "__spec__", None) is not None:
        return _IMPORTED_SOMEHOW
    above = name.rpartition(".")[0]  # a package that makes modules is what decides about them
    return origin_of(above) if above in sys.modules else _MADE_BY_HAND


@functools.cache
def origin(name: str, place: str) -> Origin:
    """What the module `name` is, whose file (for a package without one, whose folder) is `place`."""
    if name.partition(".")[0] == "parkcos":
        return _PARKCOS
    for path in dict.fromkeys((place, os.path.realpath(place))):
        parts = Path(path).parts
        packages = next((part for part in parts if part in ("site-packages", "dist-packages")), None)
        if packages is not None:
            return Origin("installed", f"it lies below {os.path.join(*parts[: parts.index(packages) + 1])}")
        if egg := next((part for part in parts if part.endswith(".egg")), None):
            return Origin("installed", f"it lies in {egg}")
        for folder, kind in _python_folders().items():
            if path.startswith(folder):
                what = "is of the standard library" if kind == "standard" else f"lies below {folder}"
                return Origin(kind, f"it {what}")
    root = os.path.realpath(root_of(name, place))
    top = name.partition(".")[0]
    why = _claim_of_metadata(top, root) or _claim_of_pth(top, root) or _claim_of_finder(top, place)
    if why:
        return Origin("installed", why)
    if compiled := compiled_part(name, place):
        return Origin("compiled", f"it is, or has beside it, compiled code: {compiled}")
    return Origin("own", f"it lies in {root}, and is not installed")


def place_of(module: ModuleType) -> str | None:
    """A module's file, or the folder of a package that has none; None if it is not of the file system."""
    place = getattr(module, "__file__", None)
    return place if isinstance(place, str) else _first_folder(getattr(module, "__path__", None))


def _first_folder(folders: Any) -> str | None:
    with contextlib.suppress(Exception):  # a module may give anything here
        return next((folder for folder in folders if isinstance(folder, str)), None)
    return None


@functools.cache
def _python_folders() -> dict[str, Kind]:
    """Where this Python has its modules, the innermost folders first."""
    found: dict[str, Kind] = {}
    for folder in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *_site_folders()):
        found[folder] = "installed"
    for folder in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")):
        found[folder] = "standard"
    both = {os.path.join(path, ""): kind for given, kind in found.items() for path in (given, os.path.realpath(given))}
    return dict(sorted(both.items(), key=lambda item: -len(item[0])))


def _site_folders() -> list[str]:
    """Those of which Python reads the `.pth` files."""
    return [*(site.getsitepackages() if hasattr(site, "getsitepackages") else ()), site.getusersitepackages()]


def is_below(path: str, folder: str) -> bool:
    """Whether a file lies in a folder, or below, whatever links lead there."""
    return os.path.join(os.path.realpath(path), "").startswith(os.path.join(os.path.realpath(folder), ""))


def root_of(name: str, place: str) -> str:
    """The folder in which the topmost package of a module lies."""
    folder = os.path.dirname(place)
    if os.path.basename(place).startswith("__init__."):
        folder = os.path.dirname(folder)
    for _ in range(name.count(".")):
        folder = os.path.dirname(folder)
    return folder


# -- who says that it is installed


def _claim_of_metadata(top: str, root: str) -> str:
    distribution = _metadata_in(root).get(top)
    return f"the distribution {distribution} in {root} has it" if distribution else ""


@functools.cache
def _metadata_in(root: str) -> dict[str, str]:
    """The topmost names that metadata in this folder list, and of which distribution they are.

    Of none if it is an `.egg-info`: a build has left it beside a project, and installs nothing there.
    """
    found: dict[str, str] = {}
    from importlib import metadata  # takes longer to import than all of this, and most programs do without

    for distribution in metadata.distributions(path=[root]):
        with contextlib.suppress(Exception):  # one that is broken says nothing about the others
            listed = (distribution.read_text("top_level.txt") or "").split()
            if not listed:
                parts = [path.parts for path in distribution.files or () if path.suffix == ".py"]
                listed = [part[0].removesuffix(".py") for part in parts]
            installed = distribution.read_text("METADATA") is not None
            found.update(dict.fromkeys(listed, f"{distribution.name} {distribution.version}" if installed else ""))
    return found


def _claim_of_pth(top: str, root: str) -> str:
    """A `.pth` file that names this folder: editable installs, `conda develop`.

    If it names a project's own folder, tests and scripts lie there beside the package, and are not installed.
    """
    pth = _pth_folders().get(root)
    if pth is None:
        return ""
    is_project = any(os.path.isfile(os.path.join(root, file)) for file in _PROJECT_FILES)
    return "" if is_project and not _is_of_project(top, root) else f"it is installed as editable, says {pth}"


def _is_of_project(top: str, root: str) -> bool:
    """Whether the project in this folder, or one that is installed, has this name, or lists it."""
    if top in _metadata_in(root) or _plain(top) == _plain(_project_name(root)):
        return True
    from importlib import metadata

    with contextlib.suppress(metadata.PackageNotFoundError):
        metadata.distribution(top)
        return True
    return False


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _project_name(root: str) -> str:
    import tomllib  # seldom needed

    try:
        with open(os.path.join(root, "pyproject.toml"), "rb") as file:
            content = tomllib.load(file)
        return str(content.get("project", content.get("tool", {}).get("poetry", {}))["name"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""


@functools.cache
def _pth_folders() -> dict[str, str]:
    """The folders that `.pth` files put on the path, and which file does."""
    found: dict[str, str] = {}
    for folder in _site_folders():
        for pth in sorted(Path(folder).glob("*.pth")):
            with contextlib.suppress(OSError, ValueError):
                for line in pth.read_text().splitlines():
                    if line.strip() and not line.startswith(("import ", "import\t", "#")):
                        found[os.path.realpath(os.path.join(folder, line.strip()))] = str(pth)
    return found


def _claim_of_finder(top: str, place: str) -> str:
    """An editable install whose finder knows the place of each of its packages."""
    for finder in sys.meta_path:
        of = getattr(finder, "__module__", None) or ""
        if "editable" in of:
            with contextlib.suppress(Exception):  # its own code
                spec = finder.find_spec(top, None)
                if spec is not None and _is_of(place, spec.origin, spec.submodule_search_locations):
                    return f"it is installed as editable, says {of.strip('_')}"
    return ""


def _is_of(place: str, file: str | None, folders: Any) -> bool:
    real = os.path.realpath(place)
    if file is not None and real == os.path.realpath(file):
        return True
    return any(
        os.path.join(real, "").startswith(os.path.join(os.path.realpath(folder), "")) for folder in folders or ()
    )


# -- compiled code


def compiled_part(name: str, place: str) -> str | None:
    """A file with compiled code among those of the module, or of the package that it is in; None if there is none."""
    if place.endswith(tuple(EXTENSION_SUFFIXES)):
        return place
    path = root_of(name, place)
    for part in name.split("."):
        path = os.path.join(path, part)
        if os.path.isfile(os.path.join(path, "__init__.py")):
            return _compiled_in(path)
    folder, stem = os.path.split(os.path.splitext(place)[0])
    return _extensions_beside(folder).get(stem)


@functools.cache
def _compiled_in(package: str) -> str | None:
    for folder, folders, files in os.walk(package):
        folders[:] = sorted(inner for inner in folders if inner.isidentifier() and inner != "__pycache__")
        for file in sorted(files):
            if file.endswith(tuple(EXTENSION_SUFFIXES)):
                return os.path.join(folder, file)
    return None


@functools.cache
def _extensions_beside(folder: str) -> dict[str, str]:
    """The compiled modules of a folder, by the name of the plain one to which they belong: `fit` for _fit.*.so."""
    return dict(_extensions_in(folder))


def _extensions_in(folder: str) -> Iterator[tuple[str, str]]:
    with contextlib.suppress(OSError):
        for file in sorted(os.listdir(folder)):
            if file.endswith(tuple(EXTENSION_SUFFIXES)):
                stem = file.partition(".")[0]
                yield stem.removeprefix("_"), os.path.join(folder, file)
                yield stem, os.path.join(folder, file)
