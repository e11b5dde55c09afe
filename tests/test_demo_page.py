"""The page of demo/ in a real Chromium. Skipped without the browser, or where `make demo` has not run."""

import gzip
import json
import threading
import time
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from browser import CHROMIUM, DRIVER, Browser
from media_files import write_video
from PIL import Image

from detector import KeypointDetector
from detector.formats import read_results
from geometry import interocular_distance
from tools.demo import OUTPUT as FOLDER
from tools.demo import SOURCE, serve

pytestmark = [
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="no Chromium here: sh tools/install_browser.sh installs it"
    ),
    pytest.mark.skipif(not (FOLDER / "index.html").exists(), reason="the page is not built: run `make demo`"),
]
NOT_A_PHOTO = b"\x89PNG\r\n\x1a\n and then nothing of a PNG file"
TAB, ENTER, SPACE = "\ue004", "\ue007", " "
DROP_SAMPLE = """
    return fetch('samples/astronaut.jpg').then(answer => answer.blob()).then(blob => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([blob], 'dropped.jpg', {type: 'image/jpeg'}));
      for (const type of ['dragover', 'drop'])
        document.body.dispatchEvent(new DragEvent(type, {dataTransfer, bubbles: true, cancelable: true}));
    })"""
PASTE = """
    const clipboardData = new DataTransfer();
    if (arguments[0]) clipboardData.items.add(new File([arguments[0]], 'image.png', {type: 'image/png'}));
    document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true}))"""

#: Whether the rainbow is drawn on frames of one face whose mouth is open by arguments[0].
RAINBOWS = """
    return Promise.all([import('./filters.js'), import('./landmarks.js')]).then(([{ Filters }, marks]) => {
      const ctx = new OffscreenCanvas(200, 200).getContext('2d', { willReadFrequently: true });
      const filters = new Filters();
      const keypoints = Float32Array.from({ length: 136 }, (_, i) => 50 + ((i * 7) % 50));
      const put = (i, x, y) => keypoints.set([x, y], 2 * i);
      const corners = ['RIGHT_EYE_OUTER', 'RIGHT_EYE_INNER', 'NOSE_TOP', 'LEFT_EYE_INNER', 'LEFT_EYE_OUTER'];
      corners.forEach((name, i) => put(marks[name], 50 + 15 * i, 60));
      put(marks.INNER_MOUTH_RIGHT, 60, 100);
      put(marks.INNER_MOUTH_LEFT, 100, 100);
      return arguments[0].map((opening) => {
        marks.INNER_LIP_PAIRS.forEach(([upper, lower], i) => {
          put(upper, 70 + 10 * i, 100 - 20 * opening);
          put(lower, 70 + 10 * i, 100 + 20 * opening);
        });
        const face = { keypoints, radius: new Float32Array(68).fill(NaN), id: 0 };
        ctx.clearRect(0, 0, 200, 200);
        filters.paint('rainbow', ctx, [face], [{ rotation: [[1, 0, 0], [0, 1, 0], [0, 0, 1]] }]);
        return ctx.getImageData(0, 0, 200, 200).data.some(Boolean);
      });
    })"""


@pytest.fixture(scope="module")
def address():
    """The page on the server of `make demo`."""
    with serve(0, FOLDER) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def window():
    """A browser without a camera."""
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def page(window, address):
    """The page, loaded anew; afterwards the console has no error, and nobody else was asked for anything."""
    window.console(), window.requested()
    window.open(address)
    window.wait_for("#status", "Ready")
    yield window
    assert window.console() == []
    others = {url for url in window.requested() if urlsplit(url).scheme not in ("blob", "data")}
    assert {urlsplit(url).netloc for url in others} == {urlsplit(address).netloc}


@pytest.fixture
def astronaut(page):
    """The page with the sample photo of one face, and nothing drawn on it."""
    page.click("[data-sample='astronaut.jpg']")
    page.wait_for("#status", "1 face in astronaut.jpg")
    for name in ("points", "outlines"):
        page.click(f"[name={name}]")
    return page


@pytest.fixture(scope="module")
def detector():
    """The network of the page, in Python."""
    return KeypointDetector.from_pretrained("heatmapnet-small", runtime="onnx-int8")


def shown(page) -> np.ndarray:
    """The picture on the page, as RGB (H, W, 3) of signed numbers."""
    return np.array(Image.open(BytesIO(page.canvas("#canvas"))).convert("RGB")).astype(int)


def sample(name: str = "astronaut.jpg") -> np.ndarray:
    """A sample photo, (H, W, 3) uint8 RGB."""
    return np.array(Image.open(FOLDER / "samples" / name).convert("RGB"))


def save(page, folder: Path, kind: str) -> Path:
    """Press a button of "Save", and return the file once it is whole."""
    before = set(folder.iterdir())
    page.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.click(f"[data-save={kind}]")
    end = time.monotonic() + 20
    while time.monotonic() < end:
        new = [path for path in set(folder.iterdir()) - before if path.suffix != ".crdownload"]
        if new and not list(folder.glob("*.crdownload")) and new[0].stat().st_size:
            return new[0]
        time.sleep(0.05)
    raise AssertionError(f"nothing was saved as {kind}")


# --- pictures in -----------------------------------------------------------------------------------


def test_a_sample_photo_gives_the_face_that_python_finds(astronaut, tmp_path, detector):
    (face,) = read_results(save(astronaut, tmp_path, "json"))[0].faces
    (expected,) = detector(sample())
    assert np.linalg.norm(face.keypoints - expected.keypoints, axis=1).mean() < 0.5
    assert face.confidence == pytest.approx(expected.confidence, abs=0.02)
    assert "confidence" in astronaut.text("#faces")


def test_a_photo_can_be_dropped(page):
    page.run(DROP_SAMPLE)
    page.wait_for("#status", "1 face in dropped.jpg")


def test_a_photo_can_be_chosen(page):
    page.choose_file("#photo-file", FOLDER / "samples" / "grace_hopper.jpg")
    page.wait_for("#status", "1 face in grace_hopper.jpg")


def test_a_picture_without_a_face_is_said_to_have_none(page, tmp_path):
    Image.new("RGB", (320, 240), (90, 120, 150)).save(tmp_path / "sky.png")
    page.choose_file("#photo-file", tmp_path / "sky.png")
    page.wait_for("#status", "No face in sky.png")
    assert page.run("return document.querySelector('[data-save=json]').disabled")


def test_a_large_photo_is_made_smaller_and_says_so(page, tmp_path):
    Image.new("RGB", (5120, 1280), (90, 120, 150)).save(tmp_path / "wide.png")
    page.choose_file("#photo-file", tmp_path / "wide.png")
    assert "2560 \N{MULTIPLICATION SIGN} 640" in page.wait_for("#status", "No face in wide.png")


def test_a_broken_file_is_named(page, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(NOT_A_PHOTO)
    page.choose_file("#photo-file", broken)
    page.wait_for("#status", "broken.jpg is not a picture that this browser can read")


def test_a_video_is_followed_until_it_is_stopped(page, tmp_path):
    video = write_video(tmp_path / "face.webm", [sample()] * 30, codec="VP80")
    page.choose_file("#video-file", video)
    page.wait_for("#status", "1 face.")
    page.wait_for("#timing", "frames a second")
    page.click("#stop")
    page.wait_for("#status", "Stopped")
    before = shown(page)
    page.click("[name=boxes]")  # the last frame is still there
    assert (shown(page) != before).any()


def test_a_broken_video_is_named(page, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0\0\0\x18ftypmp42 and nothing else")
    page.choose_file("#video-file", broken)
    page.wait_for("#status", "broken.mp4 is not a video that this browser can play")


def test_what_is_pasted_is_opened_or_refused_in_words(page):
    page.run(PASTE, "no picture")
    page.wait_for("#status", "image.png is not a picture")
    page.run(PASTE, None)
    page.wait_for("#status", "no picture on the clipboard")


# --- camera ----------------------------------------------------------------------------------------


def moving_face(path: Path, frames: int = 60) -> None:
    """A Motion JPEG video of 640 x 480, in which the sample photo moves along a circle, 1 pixel a frame."""
    photo, data = Image.fromarray(sample()), b""
    for angle in np.linspace(0, 2 * np.pi, frames, endpoint=False):
        frame = Image.new("RGB", (640, 480), (128, 128, 128))
        frame.paste(photo, (round(64 + 10 * np.cos(angle)), round(20 + 10 * np.sin(angle))))
        part = BytesIO()
        frame.save(part, "JPEG", quality=95, subsampling=0)
        data += part.getvalue()
    path.write_bytes(data)


@pytest.fixture(scope="module")
def camera(address, tmp_path_factory):
    """A browser whose camera shows the moving face."""
    video = tmp_path_factory.mktemp("camera") / "face.mjpeg"
    moving_face(video)
    browser = Browser("--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={video}")
    yield browser
    browser.close()


def use_camera(browser, address: str, setting: str) -> None:
    """Open the page, and press the button with the browser's answer given beforehand."""
    browser.cdp("Browser.setPermission", permission={"name": "camera"}, setting=setting, origin=address)
    browser.open(address)
    browser.wait_for("#status", "Ready")
    browser.click("#camera")


def test_the_camera_shows_points_where_python_finds_them(camera, address, tmp_path, detector):
    use_camera(camera, address, "granted")
    for name in ("points", "outlines"):
        camera.click(f"[name={name}]")
    camera.wait_for("#timing", "frames a second")
    camera.wait_for("#status", "1 face.")
    time.sleep(1)  # the filter of the tracker follows a moving face after some frames
    camera.click("#stop")
    (face,) = read_results(save(camera, tmp_path, "json"))[0].faces
    (expected,) = detector(shown(camera).astype(np.uint8))
    assert np.linalg.norm(face.keypoints - expected.keypoints, axis=1).mean() < 1.5
    assert camera.console() == []


def test_a_refused_camera_is_explained(camera, address):
    use_camera(camera, address, "denied")
    camera.wait_for("#status", "The camera was refused")


def test_a_missing_camera_is_explained(page, address):
    page.cdp("Browser.setPermission", permission={"name": "camera"}, setting="granted", origin=address)
    page.click("#camera")
    page.wait_for("#status", "No camera was found")


def test_a_network_that_is_missing_is_said_and_said_again(window, address):
    window.cdp("Network.enable")
    window.cdp("Network.setBlockedURLs", urls=["*.mjs"])
    try:
        window.open(address)
        window.wait_for("#status", "The networks could not be loaded")
        window.click("[data-sample='astronaut.jpg']")
        window.wait_for("#status", "The networks could not be loaded")
        assert window.run("return document.querySelector('[data-save=png]').disabled")
    finally:
        window.cdp("Network.setBlockedURLs", urls=[])


def test_a_browser_without_webassembly_is_told(window, address):
    hidden = window.cdp("Page.addScriptToEvaluateOnNewDocument", source="delete globalThis.WebAssembly")
    window.open(address)
    window.wait_for("#status", "This browser lacks WebAssembly")
    window.cdp("Page.removeScriptToEvaluateOnNewDocument", identifier=hidden["identifier"])


# --- drawn on the picture ----------------------------------------------------------------------------


def around_the_face(shape_hw, face, reach: float) -> np.ndarray:
    """True (H, W) within `reach` inter-ocular distances of the middle of the keypoints."""
    ys, xs = np.mgrid[: shape_hw[0], : shape_hw[1]]
    x, y = face.keypoints.mean(axis=0)
    return np.hypot(xs - x, ys - y) < reach * interocular_distance(face.keypoints)


@pytest.mark.parametrize("name", ["points", "outlines", "radius", "numbers", "boxes", "axes", "bars"])
def test_an_overlay_is_drawn_at_the_face_and_taken_away(astronaut, detector, name):
    before = shown(astronaut)
    astronaut.click(f"[name={name}]")
    changed = (shown(astronaut) != before).any(axis=-1)
    near = around_the_face(changed.shape, detector(sample())[0], 4.5)
    assert changed[near].sum() > 50
    assert not changed[~near].any()
    astronaut.click(f"[name={name}]")
    assert (shown(astronaut) == before).all()


def test_a_hidden_point_is_hollow(astronaut):
    alphas = astronaut.run("""
        return import('./drawing.js').then(({ drawFaces }) => {
          const keypoints = Float32Array.from({ length: 136 }, (_, i) => (i % 2 ? 50 : 10 * i));
          return [0.9, 0.1].map((visibility) => {
            const ctx = new OffscreenCanvas(1400, 100).getContext('2d');
            const face = { keypoints, visibility: new Float32Array(68).fill(visibility) };
            drawFaces(ctx, [face], [null], { points: true }, 1);
            return ctx.getImageData(100, 50, 1, 1).data[3];
          });
        })""")  # the middle of the point with index 5
    assert alphas[0] == 255
    assert 0 < alphas[1] < 128


def test_each_filter_changes_the_face_and_nothing_far_from_it(astronaut, detector):
    before = shown(astronaut)
    near = around_the_face(before.shape[:2], detector(sample())[0], 3.5)
    names = astronaut.run("return [...document.querySelectorAll('[name=filter]')].map(input => input.value)")
    changes = {}
    for name in filter(None, names):
        astronaut.click(f"[name=filter][value={name}]")
        changed = (shown(astronaut) != before).any(axis=-1)
        assert not changed[~near].any(), name
        changes[name] = changed.sum()
    assert changes.pop("rainbow") == 0  # the mouth is not open enough
    assert len(changes) >= 4
    assert all(count > 100 for count in changes.values()), changes


def test_the_rainbow_does_not_flicker_at_its_threshold(astronaut):
    openings = [0.1, 0.35, 0.37, 0.35, 0.27, 0.25, 0.35]
    drawn = astronaut.run(RAINBOWS, openings)
    assert drawn == [False, False, True, True, True, False, False]


@pytest.mark.parametrize("style", ["blur", "pixelate"])
def test_a_hidden_face_has_no_detail_left(astronaut, detector, style):
    before = shown(astronaut)
    astronaut.click(f"[name=hide][value={style}]")
    after = shown(astronaut)
    face = detector(sample())[0]
    far = ~around_the_face(before.shape[:2], face, 3.5)
    assert (after == before)[far].all()
    inside = around_the_face(before.shape[:2], face, 0.8)
    steps = np.abs(np.diff(after, axis=1))[inside[:, 1:]]
    # squares: few steps between columns; a blur: small ones
    assert (steps > 0).any(axis=-1).mean() < 0.1 if style == "pixelate" else steps.max() < 10
    assert np.abs(np.diff(before, axis=1))[inside[:, 1:]].max() > 40
    assert "not found is not hidden" in astronaut.text("#hide-note")


# --- saving ------------------------------------------------------------------------------------------


def test_what_is_saved_is_read_by_python(astronaut, tmp_path):
    saved = {kind: save(astronaut, tmp_path, kind) for kind in ("json", "pts", "coco", "png")}
    names = {kind: path.name for kind, path in saved.items()}
    assert names == {"json": "astronaut.json", "pts": "astronaut.jpg.pts", "coco": "astronaut_coco.json",
                     "png": "astronaut_keypoints.png"}  # fmt: skip
    (image,) = read_results(saved["json"])
    assert (image.image, image.size_wh, len(image.faces)) == ("astronaut.jpg", (512, 512), 1)
    assert (read_results(saved["coco"])[0].faces[0].to_dict()) == image.faces[0].to_dict()
    points = read_results(saved["pts"])[0].faces[0].keypoints
    np.testing.assert_allclose(points, image.faces[0].keypoints, atol=1e-3)
    coco = json.loads(saved["coco"].read_text())
    assert len(coco["categories"][0]["keypoints"]) == 68
    assert (np.array(Image.open(saved["png"]).convert("RGB")) == shown(astronaut)).all()


def test_the_table_has_each_point_and_is_copied(astronaut, address):
    astronaut.click("#table summary")
    astronaut.wait_for("#rows tr:last-child", "inner lips")
    assert astronaut.run("return document.querySelectorAll('#rows tr').length") == 68
    astronaut.cdp("Browser.grantPermissions", origin=address.rstrip("/"),
                  permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])  # fmt: skip
    astronaut.click("#copy")
    astronaut.wait_for("#status", "on the clipboard")
    text = astronaut.run("return navigator.clipboard.readText()")
    assert text.splitlines()[0].split("\t") == ["face", "point", "group", "x", "y", "radius"]
    assert len(text.splitlines()) == 69


# --- the page itself ---------------------------------------------------------------------------------


def test_the_policy_stops_a_request_to_another_address(window, address):
    window.open(address)
    window.wait_for("#status", "Ready")
    stopped = window.run("""
        return new Promise((resolve) => {
          document.addEventListener('securitypolicyviolation', (event) => resolve(event.effectiveDirective));
          fetch('http://127.0.0.1:9/elsewhere').catch(() => {});
        })""")
    assert stopped == "connect-src"
    window.console(), window.requested()


def test_all_controls_are_reached_by_the_keyboard_and_have_names(page):
    walked = []
    for _ in range(60):
        page.press(TAB)
        walked.append(page.run("""
            const at = document.activeElement;
            const shown = at.closest('label') ?? at;
            return [at.id || at.name || at.dataset.sample || at.dataset.save || at.tagName,
                    getComputedStyle(shown).outlineStyle]"""))  # fmt: skip
        if walked[-1][0] == "BODY":
            break
    names = [name for name, _ in walked]
    wanted = ["SUMMARY", "camera", "photo", "video", "astronaut.jpg", "grace_hopper.jpg", "points", "bars",
              "filter", "hide", "SUMMARY"]  # fmt: skip
    found = iter(names)
    assert all(name in found for name in wanted), names  # in this order
    assert all(outline == "solid" for name, outline in walked if name not in ("BODY", "SUMMARY")), walked
    tree = page.cdp("Accessibility.getFullAXTree")["nodes"]
    controls = [node for node in tree if node.get("role", {}).get("value") in
                ("button", "checkbox", "radio", "combobox", "image", "progressbar")
                and not node["ignored"]]  # fmt: skip
    assert len(controls) > 20
    assert [node for node in controls if not node.get("name", {}).get("value")] == []


def test_a_sample_is_opened_and_an_overlay_switched_by_keys(page):
    page.run("document.querySelector('[data-sample]').focus()")
    page.press(ENTER)
    page.wait_for("#status", "1 face in astronaut.jpg")
    before = shown(page)
    page.run("document.querySelector('[name=boxes]').focus()")
    page.press(SPACE)
    assert (shown(page) != before).any()


@pytest.mark.parametrize("width", [360, 390, 1440])
def test_nothing_is_wider_than_the_window(page, width):
    page.cdp("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=True)
    try:
        page.click("[data-sample='astronaut.jpg']")
        page.wait_for("#status", "1 face in astronaut.jpg")
        page.run("for (const part of document.querySelectorAll('details')) part.open = true")
        assert page.run("return document.documentElement.scrollWidth") <= width
    finally:
        page.cdp("Emulation.clearDeviceMetricsOverride")


def test_the_code_of_the_page_is_small():
    files = [path for path in SOURCE.iterdir() if path.suffix in (".html", ".css", ".js")]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < 40_000
