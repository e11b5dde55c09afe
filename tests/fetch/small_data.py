"""A data set of five images, its archive, and a server of archives, for the tests of fetching."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import cv2
import numpy as np

NAMES = {
    "training": ["Ann_Lee_00.jpg", "Ann_Lee_01.jpg", "Bo_Ek_10.jpg"],
    "test": ["Ann_Lee_00.jpg", "Bo_Ek_11.jpg"],
}


def encode(image, ending=".png") -> bytes:
    """File bytes of an RGB image; PNG with an alpha channel, as in the real archive."""
    code = cv2.COLOR_RGB2BGRA if ending == ".png" else cv2.COLOR_RGB2BGR
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if ending == ".webp" else []  # 101: lossless
    return cv2.imencode(ending, cv2.cvtColor(image, code), options)[1].tobytes()


def keypoints_csv(names) -> bytes:
    header = "," + ",".join(map(str, range(136)))
    values = ",7.0" + "".join(f",{5 + i % 30}" for i in range(135))
    return "\n".join([header, *(name + values for name in names), ""]).encode()


def make_small_data(checksums_file) -> SimpleNamespace:
    """files: path -> bytes; images: path -> RGB; checksums: the table, made without data_fetch."""
    rng, files, images, rows = np.random.default_rng(0), {}, {}, ["path,height,width,sha256"]
    for part, names in NAMES.items():
        files[f"{part}_frames_keypoints.csv"] = keypoints_csv(names)
        for name in names:
            image = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            images[f"{part}/{name}"], files[f"{part}/{name}"] = image, encode(image)
    black = np.zeros((200, 200, 3), np.uint8)  # 120 kB that pack to almost nothing
    images["training/Bo_Ek_10.jpg"], files["training/Bo_Ek_10.jpg"] = black, encode(black, ".bmp")
    for path, content in files.items():
        height, width = images[path].shape[:2] if path in images else ("", "")
        pixels = images[path].tobytes() if path in images else content
        rows.append(f"{path},{height},{width},{hashlib.sha256(pixels).hexdigest()}")
    checksums_file.write_text("\n".join(rows) + "\n")
    return SimpleNamespace(files=files, images=images, checksums=checksums_file)


def make_zip(files, prefix="") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in files.items():
            bundle.writestr(prefix + name, content)
    return buffer.getvalue()


def put(files, folder):
    """Write path -> bytes below `folder`, and return it."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def listing(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


class _Handler(BaseHTTPRequestHandler):
    def answer(self):
        self.server.asked.append((self.command, self.path))
        status, *pieces = self.server.behaviours[self.path]
        length = str(sum(len(p) for p in pieces if isinstance(p, bytes)))
        if pieces and isinstance(pieces[0], str) and pieces[0] != "close":
            length = pieces.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", length)
        self.end_headers()
        for piece in pieces if self.command == "GET" else ():
            if piece == "close":
                return
            if isinstance(piece, bytes):
                self.wfile.write(piece)
                self.wfile.flush()
            else:
                self.server.stopping.wait(piece)

    def log_message(self, *_):
        """Keep the test output clean."""


_Handler.do_GET = _Handler.do_HEAD = _Handler.answer


@contextmanager
def serve() -> Iterator[ThreadingHTTPServer]:
    """A server on 127.0.0.1.

    behaviours: path -> (status, then bytes to send, seconds to wait, or "close"); a text after
        the status is the Content-Length, which otherwise is right;
    asked: the requests so far; url(path).
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads, server.stopping = True, threading.Event()
    server.behaviours, server.asked = {}, []
    server.url = lambda path: f"http://127.0.0.1:{server.server_port}{path}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()
