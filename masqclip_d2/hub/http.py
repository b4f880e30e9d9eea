"""Open an address over HTTP: proxies, redirects, the Hub's token, parts of files, and clear reasons for failures.

Proxies are those of the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), certificates those of OpenSSL (SSL_CERT_FILE).
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from .content import is_page
from .places import Place, hub_endpoint

CONNECT_TIMEOUT = 5.0  # seconds per address of a host
READ_TIMEOUT = 20.0  # seconds without data
CHUNK = 1 << 20  # bytes

_SHA256 = re.compile(r"[0-9a-f]{64}")


class PlaceError(Exception):
    """A place does not deliver a file; the message is the reason, a clause.

    Args:
        reason: the message.
        unreachable: there was no connection, so other files of this host need not be tried.
    """

    def __init__(self, reason: str, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.unreachable = unreachable


class Interrupted(PlaceError):
    """The connection ended before the file did."""


class Facts(NamedTuple):
    """What a server states about a file; "" and None where it does not."""

    size: int | None
    etag: str  # or the time of its last modification
    sha256: str


class Answer:
    """An open connection that delivers a file from byte `start` on; a context manager."""

    def __init__(self, response: Any, place: Place) -> None:
        headers = response.headers
        linked: dict[str, str] = getattr(response, "linked", {})  # the Hub's headers, before it redirects
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
        if response.status == 206 and found is None:
            raise PlaceError("the server sent a part of the file without stating which")
        self.start = int(found[1]) if response.status == 206 and found else 0
        size = (found[2] if found else "") if response.status == 206 else headers.get("Content-Length", "")
        size = size if size.isdigit() else linked.get("x-linked-size", "")
        etag = headers.get("ETag") or headers.get("Last-Modified") or ""
        digest = _bare(linked.get("x-linked-etag") or (etag if place.hub_file else ""))
        sha256 = digest if _SHA256.fullmatch(digest) else ""
        self.facts = Facts(int(size) if size.isdigit() else None, etag, sha256)
        self._response = response
        self._ended_early = False
        self._first = self._read()
        is_html = headers.get_content_type() == "text/html"
        if self.start == 0 and (is_html or is_page(self._first)):
            raise PlaceError("the server sends a web page, not the file" + _page_hint(place))
        if headers.get("Content-Encoding", "identity") != "identity":
            raise PlaceError(f"the server sends the file in the encoding {headers['Content-Encoding']}")

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the file from `start` on.

        Raises:
            Interrupted: the connection fails or ends early.
        """
        position, chunk = self.start, self._first
        while chunk:
            yield chunk
            position += len(chunk)
            chunk = self._read()
        if self._ended_early or (self.facts.size is not None and position < self.facts.size):
            size = "unknown" if self.facts.size is None else self.facts.size
            raise Interrupted(f"the connection ended after {position} of {size} bytes")

    def _read(self) -> bytes:
        try:
            return self._response.read(CHUNK)
        except http.client.IncompleteRead as error:
            self._ended_early = True
            return error.partial
        except (OSError, http.client.HTTPException) as error:
            raise Interrupted(_reason(error, "the server")) from error


def open_place(place: Place, start: int = 0, etag: str = "", end: int | None = None) -> Answer:
    """Request the file of a place.

    Args:
        place: the server and file.
        start: first byte; the server may send the whole file all the same, see `Answer.start`.
        etag: `Facts.etag` of what is present; if the file is another one now, the server sends it from its beginning.
        end: last byte; None: that of the file.

    Raises:
        PlaceError: there is no connection, no such file, no permission, or it is a web page.
    """
    request = urllib.request.Request(
        place.requested_url, headers={"User-Agent": "masqclip_d2", "Accept-Encoding": "identity"}
    )
    if start or end is not None:
        request.add_header("Range", f"bytes={start}-{'' if end is None else end}")
    if etag and not etag.startswith("W/"):  # weak tags are not allowed here
        request.add_header("If-Range", etag)
    for name, value in _authorization(place).items():
        request.add_unredirected_header(name, value)
    redirects = _Redirects()
    opener = urllib.request.build_opener(_Handler(), _SecureHandler(), redirects)
    try:
        response = opener.open(request, timeout=CONNECT_TIMEOUT)
    except HTTPError as error:
        error.close()
        raise PlaceError(_status_reason(error, place)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise PlaceError(_reason(error, place.host), unreachable=True) from error
    response.linked = redirects.linked
    try:
        return Answer(response, place)
    except BaseException:
        response.close()
        raise


class _Connection(http.client.HTTPConnection):
    """Waits longer for data than for the connection."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(READ_TIMEOUT)


class _SecureConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(READ_TIMEOUT)


class _Handler(urllib.request.HTTPHandler):
    def http_open(self, req: Any) -> Any:
        return self.do_open(_Connection, req)


class _SecureHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: Any) -> Any:
        return self.do_open(_SecureConnection, req, context=ssl.create_default_context())


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Keeps what the Hub states before it redirects to its storage; the token stays with the host that it is for."""

    def __init__(self) -> None:
        self.linked: dict[str, str] = {}

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        self.linked.update({name.lower(): value for name, value in headers.items() if name.lower().startswith("x-")})
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.unredirected_hdrs.get("Authorization")
        if request is not None and token and urlsplit(newurl)[:2] == urlsplit(req.full_url)[:2]:
            request.add_unredirected_header("Authorization", token)
        return request


def _authorization(place: Place) -> dict[str, str]:
    """The token of the user of the Hugging Face Hub (HF_TOKEN, or as stored by a login), for the Hub only."""
    if urlsplit(place.requested_url)[:2] != urlsplit(hub_endpoint())[:2]:
        return {}
    from huggingface_hub import constants, get_token

    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"').lower()


def _page_hint(place: Place) -> str:
    if "/blob/" in place.url and place.url.startswith(hub_endpoint()):
        return "; write hf://OWNER/REPO/FILE instead of the address of its page"
    return ""


def _status_reason(error: HTTPError, place: Place) -> str:
    """Reason for an answer of status 4xx or 5xx."""
    status = f"HTTP {error.code}"
    code = error.headers.get("X-Error-Code", "") if error.headers else ""
    if place.hub_file and error.code in (401, 403):
        if code == "GatedRepo":
            return f"{status}: accept the conditions of {place.hub_file.repo} on its page, and set HF_TOKEN"
        return f"{status}: the Hub has no such repository, or it needs a token (HF_TOKEN)"
    if error.code in (404, 410):
        return f"{status}: the server has no such file"
    if error.code in (401, 403):
        return f"{status}: the server does not permit it"
    return f"{status} {error.reason}".rstrip()


def _reason(error: BaseException, host: str) -> str:
    """Reason for a connection that failed, in words that name the host."""
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, BaseException) else error
    if isinstance(cause, TimeoutError):
        return f"no answer from {host}"
    if isinstance(cause, socket.gaierror):
        return f"the name of {host} cannot be resolved"
    if isinstance(cause, ConnectionRefusedError):
        return f"{host} refuses the connection"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate of {host} is not trusted ({cause.verify_message}; SSL_CERT_FILE names others)"
    return f"{host}: {' '.join(str(cause).split()) or type(cause).__name__}"
