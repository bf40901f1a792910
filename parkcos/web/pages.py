"""The files of the pages.  They are read once: no path leads anywhere else, it is looked up among their names."""

from __future__ import annotations

import base64
import hashlib
import html
import os
import re
from pathlib import Path

from aiohttp import web

from parkcos.errors import ConfigError
from parkcos.web.kind import PLAIN, Kind

STATIC = Path(__file__).parent / "static"
"""What the pages of all sites share; they find it beside their own files."""
TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".map": "application/json",
    ".woff2": "font/woff2",
    ".txt": "text/plain",
    "": "text/plain",
}
"""Other files are not served."""
SITE = "{{site}}"
"""Stands in the login page for what the site is called."""
FILES_MAX = 1_000
BYTES_MAX = 64 * 1024 * 1024


class Pages:
    """The routes of pages and files.

    Args:
        static: the folder of the site's own pages and files, beside those that all sites share.
        document_root: a folder whose files take the place of those of the package with the same names.
        kind: of the site.

    Raises: ConfigError.
    """

    def __init__(
        self,
        static: Path | None = None,
        document_root: str | os.PathLike[str] | None = None,
        kind: Kind = PLAIN,
    ) -> None:
        self._files = read_files(STATIC)
        if static is not None:
            self._files |= read_files(static)
        if document_root is not None:
            root = Path(document_root)
            if not root.is_dir():
                raise ConfigError(f"DocumentRoot={str(document_root)!r} is no folder (looked in {Path.cwd()})")
            self._files |= read_files(root)
        page, suffix = self._files["login.html"]
        self._login_page = page.decode(errors="replace").replace(SITE, html.escape(kind.name))
        self._files["login.html"] = self._login_page.encode(), suffix
        self._login_policy = _alone(self._login_page)
        self._etags = {name: f'"{hashlib.sha256(data).hexdigest()[:20]}"' for name, (data, _) in self._files.items()}

    def add_routes(self, app: web.Application) -> None:
        """Serve them."""
        app.router.add_get("/", self._index)
        app.router.add_get("/login", self._login)
        app.router.add_get("/static/{path:.*}", self._static, name="static")

    async def _index(self, request: web.Request) -> web.StreamResponse:
        return self._answer(request, "index.html")

    async def _login(self, request: web.Request) -> web.StreamResponse:
        page = self._login_page
        if "wrong" in request.query:
            page = page.replace('role="alert" hidden', 'role="alert"')
        headers = {"Content-Security-Policy": self._login_policy}
        return web.Response(text=page, content_type="text/html", headers=headers)

    async def _static(self, request: web.Request) -> web.StreamResponse:
        return self._answer(request, request.match_info["path"])

    def _answer(self, request: web.Request, name: str) -> web.StreamResponse:
        found = self._files.get(name)
        if found is None:
            raise web.HTTPNotFound
        data, suffix = found
        headers = {"ETag": self._etags[name], "Cache-Control": "no-cache"}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        kind = TYPES[suffix]
        charset = "utf-8" if kind.startswith("text/") or kind.endswith(("json", "xml")) else None
        return web.Response(body=data, content_type=kind, charset=charset, headers=headers)


def _alone(page: str) -> str:
    """The policy for a page that needs no other file: its own style, no script."""
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() for style in styles]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return (
        f"default-src 'none'; style-src {allowed}; img-src data:; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )


def read_files(root: Path) -> dict[str, tuple[bytes, str]]:
    """The files below a folder, by their relative paths with `/`; links that lead out of it are left out.

    Raises: ConfigError if they cannot be read, or are too many to be those of a few pages.
    """
    real = root.resolve()
    found: dict[str, tuple[bytes, str]] = {}
    size = 0
    try:
        for folder, folders, names in os.walk(real):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(folder, name)
                suffix = path.suffix.lower()
                if name.startswith(".") or suffix not in TYPES or not path.resolve().is_relative_to(real):
                    continue
                if not path.is_file():
                    continue
                size += path.stat().st_size
                if size > BYTES_MAX or len(found) == FILES_MAX:
                    raise ConfigError(
                        f"{root} holds more than pages need: more than {FILES_MAX} files or {BYTES_MAX >> 20} MiB; "
                        "give a folder with the pages alone"
                    )
                found[path.relative_to(real).as_posix()] = path.read_bytes(), suffix
    except OSError as error:
        raise ConfigError(f"the pages in {root} cannot be read: {error.strerror}: {error.filename}") from error
    return found
