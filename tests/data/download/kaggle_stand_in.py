"""Kaggle and its storage, as two servers on this machine: enough of both for the real client."""

import base64
import contextlib
import hashlib
import io
import json
import threading
import zipfile
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np

CORONAHACK = "coronahack-chest-xraydataset"
RSNA = "rsna-pneumonia-detection-challenge"


def archive_of(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as bundle:
        for name, content in files.items():
            bundle.writestr(zipfile.ZipInfo(name), content)
    return held.getvalue()


def noise(length: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(length)


FILES = {
    "Chest_xray_Corona_Metadata.csv": b",X_ray_image_name,Label\n0,a.jpeg,Normal\n",
    "images/train/a.jpeg": noise(300_000, 1),
    "images/test/b \xe9.jpeg": noise(200_000, 2),
}


@dataclass
class Seen:
    """One request: where it came to, what it asked for, and its headers."""

    server: str
    path: str
    headers: dict[str, str]
    body: dict[str, object]


@dataclass
class StandIn:
    """What the two servers serve, how they misbehave, and what they have seen.

    Attributes:
        files: by the name that the client asks for: a slug for all of a set, ``slug/name`` for one file.
        refusals: answers that the interface gives first: status, headers, JSON.
        storage_refusals: statuses that the storage gives first.
        cuts: the storage's next bodies end after so many bytes.
        announced: the length that the storage claims; None for the true one.
        ranges: whether the storage serves parts of files.
        validator: the header that tells versions apart.
        md5: the checksum that the storage sends; None for the true one, "" for none.
        chunked: whether the storage leaves the length out.
        shifted: whether the storage serves another part than was asked for.
        hold: nobody answers until it is set.
        pause_at: the storage sends so many bytes of its next body, and the rest when ``go_on`` is set.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    refusals: deque[tuple[int, dict[str, str], object]] = field(default_factory=deque)
    storage_refusals: deque[int] = field(default_factory=deque)
    cuts: deque[int] = field(default_factory=deque)
    announced: int | None = None
    ranges: bool = True
    validator: str = "ETag"
    md5: str | None = None
    chunked: bool = False
    shifted: bool = False
    hold: threading.Event | None = None
    pause_at: int | None = None
    go_on: threading.Event = field(default_factory=threading.Event)
    seen: list[Seen] = field(default_factory=list)
    address: str = ""
    storage: str = ""

    def asked(self, server: str) -> list[Seen]:
        return [one for one in self.seen if one.server == server]

    @property
    def parts(self) -> list[str | None]:
        """The ranges of the transfers; the client's own first look at each address is left out."""
        transfers = [one for one in self.asked("storage") if one.headers["accept-encoding"] == "identity"]
        return [one.headers.get("range") for one in transfers]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: StandIn
    role: str

    def log_message(self, *arguments):
        pass

    def note(self, body=b""):
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.stand_in.seen.append(Seen(self.role, self.path, headers, json.loads(body or b"{}")))

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class _Interface(_Handler):
    role = "interface"

    def do_POST(self):
        self.note(self.rfile.read(int(self.headers["Content-Length"])))
        if self.stand_in.hold:
            self.stand_in.hold.wait(20)
        asked = self.stand_in.seen[-1]
        method = asked.path.rpartition("/")[2]
        if method == "IntrospectToken":
            self.json(200, {"active": True, "username": "ann"})
        elif method == "GenerateAccessToken" and asked.body["refreshToken"] == "refresh":
            self.json(200, {"token": "fresh", "expiresIn": 3600})
        elif method == "GenerateAccessToken":
            self.json(400, {"code": 400, "message": "revoked"})
        elif self.stand_in.refusals:
            status, headers, body = self.stand_in.refusals.popleft()
            self.json(status, body, headers)
        else:
            self.redirect(asked.body)

    def json(self, status, body, headers=None):
        self.answer(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(body).encode())

    def redirect(self, body):
        name = body.get("datasetSlug") or body.get("competitionName")
        name += f"/{body['fileName']}" if body.get("fileName") else ""
        if name not in self.stand_in.files:
            self.json(404, {"code": 404, "message": "Not found"})
            return
        self.answer(302, {"Location": f"{self.stand_in.storage}/archive.zip?name={name}&X-Goog-Signature=0"})


class _Storage(_Handler):
    role = "storage"

    def do_GET(self):
        self.note()
        stand_in = self.stand_in
        is_transfer = self.headers["Accept-Encoding"] == "identity"
        if is_transfer and stand_in.storage_refusals:
            self.answer(stand_in.storage_refusals.popleft(), {})
            return
        content = stand_in.files[parse_qs(urlsplit(self.path).query)["name"][0]]
        digest = hashlib.md5(content)
        validator = f'"{digest.hexdigest()}"' if stand_in.validator == "ETag" else 'W/"same"'
        headers = {"ETag": validator, "Accept-Ranges": "bytes", "Connection": "close"}
        md5 = base64.b64encode(digest.digest()).decode() if stand_in.md5 is None else stand_in.md5
        if md5:
            headers["x-goog-hash"] = f"crc32c=AAAAAA==,md5={md5}"
        status, start = 200, 0
        if stand_in.ranges and "Range" in self.headers and self.headers.get("If-Range") == validator:
            status, start = 206, int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            start += stand_in.shifted
            total = stand_in.announced or len(content)
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
            if start >= len(content):
                self.answer(416, {"Content-Range": f"bytes */{len(content)}"})
                return
        body = content[start:]
        headers["Content-Length"] = str((stand_in.announced or len(content)) - start)
        self.serve(status, headers, body[: stand_in.cuts.popleft()] if is_transfer and stand_in.cuts else body)

    def serve(self, status, headers, body):
        self.close_connection = True
        if self.stand_in.chunked:
            del headers["Content-Length"]
            headers["Transfer-Encoding"] = "chunked"
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        pause = None
        if self.headers["Accept-Encoding"] == "identity":
            pause, self.stand_in.pause_at = self.stand_in.pause_at, None
        with contextlib.suppress(OSError):  # the client has seen enough
            if pause:
                self.wfile.write(body[:pause])
                self.stand_in.go_on.wait(20)
                body = body[pause:]
            self.wfile.write(body)


def serve(stand_in: StandIn) -> list[ThreadingHTTPServer]:
    """Start both servers on free ports; their addresses go into ``stand_in``."""
    servers = []
    for handler in (_Interface, _Storage):
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {"stand_in": stand_in}))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
    stand_in.address, stand_in.storage = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    return servers
