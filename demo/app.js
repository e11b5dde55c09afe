// The page: inputs, the loop over frames, what is shown and said, and saving.

import { eyeOpening, headPose, mouthOpening } from "./analysis.js";
import { KeypointDetector } from "./detector.js";
import { drawFaces, hideFaces } from "./drawing.js";
import { ptsNames, toCoco, toJson, toPts, toRows, toTable } from "./exports.js";
import { Filters, FILTERS } from "./filters.js";
import { FaceTracker } from "./tracking.js";

const MAX_SIDE = 2560; // of a photo, in pixels; a larger one is made smaller
const CARDS_MS = 250; // between two updates of the numbers beside a video
const CAMERA_ERRORS = {
  NotAllowedError: "The camera was refused. Allow it in the browser's address bar, or choose a photo.",
  NotFoundError: "No camera was found. Connect one, or choose a photo.",
  NotReadableError: "The camera is in use by another program. Close that program, or choose a photo.",
};

const $ = (id) => document.getElementById(id);
const canvas = $("canvas");
const ctx = canvas.getContext("2d");
const source = document.createElement("canvas");
const sourceCtx = source.getContext("2d", { willReadFrequently: true });
const options = new URLSearchParams(location.search);

let detector = null; // a promise of the detector
let shown = null; // {name, kind, image, faces, poses, ms} of what is on the canvas
let video = null; // the video element that is being followed
let run = 0; // a new input makes older ones stop
let filters = new Filters();
let cardsAt = 0;

function say(text, bad = false) {
  const status = $("status");
  if (status.textContent !== text) status.textContent = text;
  status.classList.toggle("bad", bad);
}

const checked = (name) => document.querySelector(`input[name=${name}]:checked`).value;
const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

// --- loading ---------------------------------------------------------------------------------------

async function load() {
  $("progress").hidden = false;
  $("progress").removeAttribute("value");
  say("Loading the networks.");
  const provider = $("provider").value;
  const ort = await import(`./ort/ort.${provider === "webgpu" ? "webgpu" : "wasm"}.min.mjs`);
  ort.env.wasm.wasmPaths = new URL("ort/", document.baseURI).href;
  const loaded = await KeypointDetector.load(ort, new URL("networks/", document.baseURI).href, {
    network: $("network").value,
    providers: [provider],
    threads: Number($("threads").value),
    onProgress(done, total) {
      if (total) $("progress").value = done / total;
      say(`Loading the networks: ${megabytes(done)}${total ? ` of ${megabytes(total)}` : ""} MB.`);
    },
  });
  $("progress").hidden = true;
  describeEngine(loaded.provider);
  return loaded;
}

function describeEngine(provider) {
  const threads = Number($("threads").value);
  const where = provider === "webgpu" ? "the GPU (WebGPU)" : `the CPU (WebAssembly) with ${threads} thread${threads > 1 ? "s" : ""}`;
  const more = [
    globalThis.crossOriginIsolated ? "" : "More threads need the headers COOP and COEP from the server.",
    navigator.gpu ? "" : "This browser offers no WebGPU.",
  ];
  $("engine-note").textContent = [`Runs on ${where}.`, ...more].join(" ").trim();
}

/** Offer what the browser has; threads and provider are in the address, because they need a new page. */
function offerEngines() {
  if (navigator.gpu) $("provider").add(new Option("GPU (WebGPU)", "webgpu"));
  if (globalThis.crossOriginIsolated) {
    for (let n = 2; n <= Math.min(8, navigator.hardwareConcurrency); n *= 2) $("threads").add(new Option(n, n));
  }
  for (const id of ["network", "provider", "threads"]) {
    if ([...$(id).options].some((option) => option.value === options.get(id))) $(id).value = options.get(id);
  }
  for (const id of ["provider", "threads"]) {
    $(id).disabled = $(id).options.length < 2;
    $(id).onchange = () => {
      for (const key of ["network", "provider", "threads"]) options.set(key, $(key).value);
      location.search = options;
    };
  }
}

const missing = () =>
  [
    ["WebAssembly", globalThis.WebAssembly],
    ["OffscreenCanvas", globalThis.OffscreenCanvas],
    ["createImageBitmap", globalThis.createImageBitmap],
  ]
    .filter(([, there]) => !there)
    .map(([name]) => name);

/** Load the networks; the reason is said where that fails. */
function start() {
  const lacks = missing();
  detector = lacks.length
    ? Promise.reject(new Error(`This browser lacks ${lacks.join(", ")}. Use a newer one.`))
    : load();
  detector.then(
    () => shown || video || say("Ready. Choose a photo, a video, a sample or the camera."),
    sayFailure,
  );
}

function sayFailure(error) {
  $("progress").hidden = true;
  const advice = $("provider").value === "wasm" ? "Load the page again." : "Choose the CPU under “Network and speed”.";
  say(missing().length ? error.message : `The networks could not be loaded (${error.message}). ${advice}`, true);
}

// --- inputs ----------------------------------------------------------------------------------------

/** Draw a bitmap or a frame of a video for reading. Returns its pixels. */
function grab(picture, width, height, mirror = false) {
  const scale = Math.min(1, MAX_SIDE / Math.max(width, height));
  source.width = Math.max(1, Math.round(width * scale));
  source.height = Math.max(1, Math.round(height * scale));
  if (mirror) sourceCtx.setTransform(-1, 0, 0, 1, source.width, 0);
  sourceCtx.drawImage(picture, 0, 0, source.width, source.height);
  return sourceCtx.getImageData(0, 0, source.width, source.height);
}

function stop() {
  run++;
  video?.srcObject?.getTracks().forEach((track) => track.stop());
  video?.pause();
  if (video?.src) URL.revokeObjectURL(video.src);
  video = null;
  $("stop").hidden = true;
}

async function openPhoto(blob, name) {
  stop();
  const mine = run;
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    say(`${name} is not a picture that this browser can read. Choose a JPEG, PNG or WebP file.`, true);
    return;
  }
  if (mine !== run) return;
  const image = grab(bitmap, bitmap.width, bitmap.height);
  const smaller = bitmap.width === image.width ? "" : ` It was made smaller, to ${image.width} × ${image.height} pixels.`;
  bitmap.close();
  await findFaces(image, name, smaller);
}

/** The detector; where it could not be loaded, null, and the reason is said. */
const detectorOrWord = () => detector.catch((error) => (sayFailure(error), null));

async function findFaces(image, name, remark = "") {
  const mine = run;
  filters = new Filters();
  present({ name, kind: "photo", image, faces: [], ms: {}, isPending: true });
  if (!$("progress").hidden) say(`${name} waits for the networks.`);
  const ready = await detectorOrWord();
  if (mine !== run || !ready) return;
  try {
    const { faces, ms } = await ready.detect(image);
    if (mine !== run) return;
    present({ name, kind: "photo", image, faces, ms });
    say(`${count(faces)} in ${name}.${remark}`);
  } catch (error) {
    say(`${name} could not be read by the networks: ${error.message}`, true);
  }
}

const count = (faces) => (faces.length ? `${faces.length} face${faces.length > 1 ? "s" : ""}` : "No face");

async function openVideo(file) {
  stop();
  const element = newVideo();
  element.loop = true;
  element.src = URL.createObjectURL(file);
  element.onerror = () => {
    if (video !== element) return;
    stop();
    say(`${file.name} is not a video that this browser can play. Choose an MP4 or WebM file.`, true);
  };
  await follow(element, file.name, "video");
}

async function openCamera() {
  stop();
  const mine = run;
  if (!navigator.mediaDevices) {
    say("This browser offers no camera here. It needs an address with https, or 127.0.0.1.", true);
    return;
  }
  say("Waiting for the camera. The browser may ask you.");
  try {
    const size = { width: { ideal: 640 }, height: { ideal: 480 } };
    const stream = await navigator.mediaDevices.getUserMedia({ video: { ...size, facingMode: "user" }, audio: false });
    if (mine !== run) return stream.getTracks().forEach((track) => track.stop());
    const element = newVideo();
    element.srcObject = stream;
    stream.getTracks()[0].onended = () => {
      if (video !== element) return;
      stop();
      say("The camera was disconnected.", true);
    };
    await follow(element, "camera.png", "camera");
  } catch (error) {
    say(CAMERA_ERRORS[error.name] ?? `The camera cannot be used: ${error.message}`, true);
  }
}

function newVideo() {
  video = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
  return video;
}

/** Find faces in every frame until something else is opened. */
async function follow(element, name, kind) {
  const mine = run;
  filters = new Filters();
  if (!$("progress").hidden) say("The video waits for the networks.");
  const ready = await detectorOrWord();
  if (mine !== run || !ready) return;
  try {
    await element.play();
  } catch {
    return; // onerror has said why
  }
  if (mine !== run) return;
  $("stop").textContent = kind === "camera" ? "Stop camera" : "Stop video";
  $("stop").hidden = false;
  const tracker = new FaceTracker(ready);
  let [last, fps, said] = [0, 0, -1];
  const next = () =>
    element.requestVideoFrameCallback ? element.requestVideoFrameCallback(frame) : requestAnimationFrame(frame);
  async function frame() {
    if (mine !== run) return;
    try {
      const begin = performance.now();
      const mirror = kind === "camera" && $("mirror").checked;
      const image = grab(element, element.videoWidth, element.videoHeight, mirror);
      const faces = await tracker.update(image, begin / 1000);
      if (mine !== run) return;
      if (last) fps += ((1000 / (begin - last)) - fps) * (fps ? 0.1 : 1);
      last = begin;
      present({ name, kind, image, faces, ms: { ...tracker.ms }, fps });
      if (faces.length !== said) say(`${count(faces)}.`); // else what was said about something else stays
      said = faces.length;
      next();
    } catch (error) {
      stop();
      say(`The video stopped: ${error.message}`, true);
    }
  }
  next();
}

function openFile(file) {
  return file.type.startsWith("video/") ? openVideo(file) : openPhoto(file, file.name || "The picture");
}

async function openSample(name) {
  try {
    const answer = await fetch(`samples/${name}`);
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    await openPhoto(await answer.blob(), name);
  } catch (error) {
    say(`The sample could not be loaded: ${error.message}`, true);
  }
}

// --- showing ---------------------------------------------------------------------------------------

function poseOf(face, image) {
  try {
    return headPose(face.keypoints, image);
  } catch {
    return null; // points that no head has
  }
}

function present(picture) {
  shown = picture;
  shown.poses = shown.faces.map((face) => poseOf(face, shown.image));
  canvas.hidden = false;
  $("empty").hidden = true;
  const begin = performance.now();
  render();
  shown.ms.drawing = performance.now() - begin;
  if (shown.kind !== "photo" && begin - cardsAt < CARDS_MS) return;
  cardsAt = begin;
  describe();
}

/** Draw the picture, the hidden faces, the filter and the overlays. */
function render() {
  if (!shown) return;
  const { image, faces, poses } = shown;
  if (canvas.width !== image.width || canvas.height !== image.height) {
    [canvas.width, canvas.height] = [image.width, image.height];
  }
  ctx.putImageData(image, 0, 0); // not the source, which may have the next frame already
  const [style, filter] = [checked("hide"), checked("filter")];
  if (style) hideFaces(ctx, image, faces, poses, style);
  if (filter) filters.paint(filter, ctx, faces, poses);
  const show = {};
  for (const box of $("overlays").querySelectorAll("input")) show[box.name] = box.checked;
  const scale = Math.max(canvas.width / canvas.clientWidth, canvas.height / canvas.clientHeight);
  drawFaces(ctx, faces, poses, show, Number.isFinite(scale) ? scale : 1);
}

/** The numbers in words beside the picture. */
function describe() {
  const { name, kind, faces, ms, fps, isPending } = shown;
  const what = kind === "photo" ? name : `The ${kind}`;
  canvas.setAttribute("aria-label", isPending ? what : `${what}: ${count(faces)}`);
  const stages = Object.entries(ms).map(([stage, value]) => `${stage} ${value.toFixed(1)} ms`);
  $("timing").textContent = [fps ? `${fps.toFixed(0)} frames a second` : "", ...stages].filter(Boolean).join(" · ");
  $("faces").replaceChildren(...faces.map(card));
  for (const button of document.querySelectorAll("[data-save], #copy")) {
    button.disabled = isPending || (button.dataset.save !== "png" && !faces.length);
  }
  if ($("table").open) fillTable();
}

function card(face, i) {
  const item = document.createElement("li");
  const part = (tag, text) => item.appendChild(Object.assign(document.createElement(tag), { textContent: text }));
  const pose = shown.poses[i];
  const sure = Number.isFinite(face.confidence) ? `, confidence ${face.confidence.toFixed(2)}` : "";
  part("b", `Face ${face.id ?? i}${sure}`);
  for (const angle of ["yaw", "pitch", "roll"]) part("span", `${angle} ${pose ? `${Math.round(pose[angle]) || 0}°` : "unknown"}`);
  const [right, left] = eyeOpening(face.keypoints);
  for (const [name, value, max] of [["right eye", right, 0.4], ["left eye", left, 0.4], ["mouth", mouthOpening(face.keypoints), 0.8]]) {
    const label = part("label", `${name} ${value.toFixed(2)}`);
    label.append(Object.assign(document.createElement("meter"), { max, value }));
  }
  return item;
}

function fillTable() {
  $("rows").replaceChildren(
    ...toRows(shown?.faces ?? []).map((cells) => {
      const row = document.createElement("tr");
      for (const text of cells) row.insertCell().textContent = text;
      return row;
    }),
  );
}

// --- saving ----------------------------------------------------------------------------------------

function download(name, blob) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const SAVE = {
  png: (stem) => canvas.toBlob((blob) => download(`${stem}_keypoints.png`, blob)),
  json: (stem) => download(`${stem}.json`, new Blob([toJson(shown.name, shown.image, shown.faces)])),
  coco: (stem) => download(`${stem}_coco.json`, new Blob([toCoco(shown.name, shown.image, shown.faces)])),
  pts() {
    const names = ptsNames(shown.name, shown.faces.length);
    shown.faces.forEach((face, i) => download(names[i], new Blob([toPts(face)])));
  },
};

async function copyTable() {
  try {
    await navigator.clipboard.writeText(toTable(shown.faces));
    say("The table is on the clipboard.");
  } catch {
    say("The browser refused the clipboard. Save JSON instead.", true);
  }
}

// --- controls --------------------------------------------------------------------------------------

function connect() {
  for (const name of FILTERS) {
    const label = document.createElement("label");
    label.append(Object.assign(document.createElement("input"), { type: "radio", name: "filter", value: name }));
    label.append(` ${name[0].toUpperCase()}${name.slice(1).replace("_", " ")}`);
    $("filters").append(label);
  }
  for (const id of ["overlays", "filters", "hide"]) {
    $(id).onchange = () => {
      $("hint").hidden = checked("filter") !== "rainbow";
      $("hide-note").hidden = !checked("hide");
      render();
    };
  }
  for (const kind of ["photo", "video"]) {
    const input = $(`${kind}-file`);
    $(kind).onclick = () => input.click();
    input.onchange = () => {
      if (input.files[0]) openFile(input.files[0]);
      input.value = "";
    };
  }
  $("camera").onclick = openCamera;
  $("stop").onclick = () => {
    stop();
    if (shown) describe();
    say("Stopped. The last frame can be saved.");
  };
  for (const button of document.querySelectorAll("[data-sample]")) button.onclick = () => openSample(button.dataset.sample);
  for (const button of document.querySelectorAll("[data-save]")) {
    button.onclick = () => SAVE[button.dataset.save](shown.name.replace(/\.\w+$/, ""));
  }
  $("copy").onclick = copyTable;
  $("table").ontoggle = fillTable;
  $("network").onchange = () => {
    start();
    if (video) {
      stop();
      say("The network was changed. Start the video again.");
    } else if (shown) {
      findFaces(shown.image, shown.name);
    }
  };
  addEventListener("resize", render);
}

function connectDropAndPaste() {
  const over = (event) => {
    event.preventDefault();
    $("view").classList.toggle("over", event.type === "dragover");
  };
  for (const type of ["dragover", "dragleave", "drop"]) addEventListener(type, over);
  addEventListener("drop", (event) => {
    const [file] = event.dataTransfer.files;
    file ? openFile(file) : say("What was dropped is not a file. Drop a photo or a video.", true);
  });
  addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    file ? openFile(file) : say("There is no picture on the clipboard.", true);
  });
}

connect();
connectDropAndPaste();
offerEngines();
start();
