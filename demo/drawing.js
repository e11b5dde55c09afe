// Faces drawn onto a canvas: points, lines, boxes, axes, bars, and faces made unrecognisable.
// Pixel (0, 0) is centred at (0, 0) in keypoints and at (0.5, 0.5) on a canvas; boxes are edges in both.

import { eyeOpening, mouthOpening } from "./analysis.js";
import { isHidden } from "./detector.js";
import { HeadFrame, interocularDistance, point } from "./filters.js";
import { CLOSED_GROUPS, GROUPS, NOSE_TIP, NUM_KEYPOINTS } from "./landmarks.js";

const LINE = "rgba(255,255,255,.85)";
const POINT = "#ff2fd0";
const BOX = "#ffd000";
const SHADE = "rgba(0,0,0,.55)";
const AXES = [["#ff5a4f", 0], ["#4fd86b", 1], ["#4aa8ff", 2]]; // to the person's left, down, forward
const CELLS = 5; // a hidden face is the mean colours of about 5 x 5 squares
const GROWN = 0.1; // share of the face's height that is hidden around its outline

/** Draw what `show` names: {points, outlines, radius, numbers, boxes, axes, bars}. scale: canvas pixels a screen pixel. */
export function drawFaces(ctx, faces, poses, show, scale) {
  faces.forEach((face, i) => {
    ctx.save();
    ctx.lineJoin = ctx.lineCap = "round";
    ctx.font = `600 ${12 * scale}px system-ui, sans-serif`;
    if (show.boxes) drawBox(ctx, face, scale);
    ctx.translate(0.5, 0.5);
    const thin = Math.max(interocularDistance(face) / 60, 0.45 * scale);
    if (show.radius) drawRadius(ctx, face, thin);
    if (show.outlines) drawOutlines(ctx, face, thin);
    if (show.points) drawPoints(ctx, face, thin);
    if (show.numbers) drawNumbers(ctx, face, scale);
    if (show.axes && poses[i]) drawAxes(ctx, face, poses[i], thin);
    if (show.bars) drawBars(ctx, face, scale);
    ctx.restore();
  });
}

function label(ctx, text, x, y, scale, colour = "#fff") {
  ctx.lineWidth = 3 * scale;
  ctx.strokeStyle = SHADE;
  ctx.strokeText(text, x, y);
  ctx.fillStyle = colour;
  ctx.fillText(text, x, y);
}

function drawBox(ctx, face, scale) {
  const [left, top, right, bottom] = face.boxXyxy;
  for (const [colour, width] of [[SHADE, 3.5], [BOX, 2]]) {
    ctx.strokeStyle = colour;
    ctx.lineWidth = width * scale;
    ctx.strokeRect(left, top, right - left, bottom - top);
  }
  const name = face.id === undefined ? "" : `#${face.id} `;
  const confidence = Number.isFinite(face.confidence) ? face.confidence.toFixed(2) : "";
  label(ctx, name + confidence, left, Math.max(top - 6 * scale, 13 * scale), scale, BOX);
}

function drawOutlines(ctx, face, thin) {
  for (const [colour, width] of [["rgba(0,0,0,.3)", 2.6], [LINE, 1.3]]) {
    ctx.strokeStyle = colour;
    ctx.lineWidth = width * thin;
    for (const [name, indices] of Object.entries(GROUPS)) {
      const path = `M${indices.map((i) => point(face, i)).join(" L")}`;
      ctx.stroke(new Path2D(CLOSED_GROUPS.has(name) ? `${path}Z` : path));
    }
  }
}

/** Points; hidden ones are hollow. */
function drawPoints(ctx, face, thin) {
  ctx.strokeStyle = POINT;
  ctx.lineWidth = 0.8 * thin;
  for (let i = 0; i < NUM_KEYPOINTS; i++) {
    ctx.beginPath();
    ctx.arc(...point(face, i), 1.5 * thin, 0, 2 * Math.PI);
    ctx.fillStyle = isHidden(face, i) ? "rgba(0,0,0,.35)" : POINT;
    ctx.fill();
    ctx.stroke();
  }
}

function drawRadius(ctx, face, thin) {
  ctx.fillStyle = "rgba(74,168,255,.16)";
  ctx.strokeStyle = "rgba(74,168,255,.85)";
  ctx.lineWidth = 0.6 * thin;
  for (let i = 0; i < NUM_KEYPOINTS; i++) {
    if (!(face.radius[i] > 0)) continue;
    ctx.beginPath();
    ctx.arc(...point(face, i), face.radius[i], 0, 2 * Math.PI);
    ctx.fill();
    ctx.stroke();
  }
}

function drawNumbers(ctx, face, scale) {
  ctx.save();
  ctx.font = `600 ${Math.max(interocularDistance(face) / 12, 7 * scale)}px system-ui, sans-serif`;
  for (let i = 0; i < NUM_KEYPOINTS; i++) {
    const [x, y] = point(face, i);
    label(ctx, String(i), x + 2 * scale, y - 2 * scale, 0.5 * scale);
  }
  ctx.restore();
}

function drawAxes(ctx, face, pose, thin) {
  const head = new HeadFrame(face, pose);
  const nose = point(face, NOSE_TIP);
  const start = head.project([0, 0, 0]);
  for (const [colour, axis] of AXES) {
    const end = head.project([0, 1, 2].map((i) => (i === axis ? 0.8 : 0)));
    const tip = nose.map((value, i) => value + end[i] - start[i]);
    for (const [style, width] of [[SHADE, 4.4], [colour, 2.8]]) {
      ctx.strokeStyle = style;
      ctx.lineWidth = width * thin;
      ctx.stroke(new Path2D(`M${nose} L${tip}`));
    }
  }
}

/** Bars below the face; full is an eye of 0.4 and a mouth of 0.8. */
function drawBars(ctx, face, scale) {
  const [rightEye, leftEye] = eyeOpening(face.keypoints);
  const bars = [["R eye", rightEye / 0.4], ["L eye", leftEye / 0.4], ["Mouth", mouthOpening(face.keypoints) / 0.8]];
  const [left, , right, bottom] = face.boxXyxy;
  const unit = Math.min(scale, Math.max(0.45 * scale, (right - left) / 126)); // the bars of neighbours stay apart
  const top = Math.min(bottom + 8 * unit, ctx.canvas.height - 48 * unit);
  ctx.font = `600 ${12 * unit}px system-ui, sans-serif`;
  bars.forEach(([name, share], i) => {
    const y = top + 16 * i * unit;
    label(ctx, name, left, y + 9 * unit, unit);
    ctx.fillStyle = SHADE;
    ctx.fillRect(left + 46 * unit, y, 80 * unit, 10 * unit);
    ctx.fillStyle = i < 2 ? "#4aa8ff" : "#ff7a59";
    ctx.fillRect(left + 46 * unit, y, 80 * unit * Math.min(1, Math.max(0, share || 0)), 10 * unit);
  });
}

// --- faces made unrecognisable -------------------------------------------------------------------

/** Replace faces by mean colours, as `blur_faces` in Python. style: "blur" or "pixelate".
 *  image: {data, width, height} of what is on the canvas. */
export function hideFaces(ctx, image, faces, poses, style) {
  faces.forEach((face, i) => {
    const own = Array.from({ length: NUM_KEYPOINTS }, (_, k) => point(face, k));
    hide(ctx, image, convexHull(poses[i] ? [...own, ...new HeadFrame(face, poses[i]).forehead()] : own), style);
  });
}

function hide(ctx, image, outline, style) {
  const [xs, ys] = [0, 1].map((axis) => outline.map((p) => p[axis]));
  const side = Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys));
  const reach = GROWN * side + 2;
  const left = Math.max(0, Math.floor(Math.min(...xs) - reach));
  const top = Math.max(0, Math.floor(Math.min(...ys) - reach));
  const width = Math.min(image.width, Math.ceil(Math.max(...xs) + reach)) - left;
  const height = Math.min(image.height, Math.ceil(Math.max(...ys) + reach)) - top;
  if (width < 1 || height < 1) return;
  const block = Math.max(side / CELLS, 2);
  const window = new OffscreenCanvas(width, height).getContext("2d");
  window.imageSmoothingEnabled = style === "blur";
  window.drawImage(means(image, left, top, width, height, block), 0, 0, width, height);
  window.globalCompositeOperation = "destination-in";
  const mask = new OffscreenCanvas(width, height).getContext("2d");
  const path = new Path2D(`M${outline.map(([x, y]) => [x - left + 0.5, y - top + 0.5]).join(" L")}Z`);
  mask.lineJoin = "round";
  mask.lineWidth = 2 * GROWN * side;
  mask.fill(path);
  mask.stroke(path);
  window.drawImage(mask.canvas, 0, 0);
  ctx.drawImage(window.canvas, left, top);
}

/** A small canvas of the exact mean colours of squares; from means the pixels cannot be computed. */
function means(image, left, top, width, height, block) {
  const [columns, rows] = [width, height].map((length) => Math.max(1, Math.floor(length / block)));
  const sums = new Float64Array(4 * columns * rows);
  for (let y = 0; y < height; y++) {
    const row = Math.floor((y * rows) / height) * columns;
    for (let x = 0; x < width; x++) {
      const cell = 4 * (row + Math.floor((x * columns) / width));
      const at = 4 * ((top + y) * image.width + left + x);
      for (let c = 0; c < 3; c++) sums[cell + c] += image.data[at + c];
      sums[cell + 3]++;
    }
  }
  const small = new ImageData(columns, rows);
  small.data.forEach((_, i) => (small.data[i] = i % 4 === 3 ? 255 : sums[i] / sums[i - (i % 4) + 3]));
  const canvas = new OffscreenCanvas(columns, rows);
  canvas.getContext("2d").putImageData(small, 0, 0);
  return canvas;
}

/** Andrew's monotone chain. */
function convexHull(points) {
  const sorted = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const turn = (o, a, b) => (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0]);
  const chain = (list) => {
    const hull = [];
    for (const p of list) {
      while (hull.length > 1 && turn(hull.at(-2), hull.at(-1), p) <= 0) hull.pop();
      hull.push(p);
    }
    return hull.slice(0, -1);
  };
  return [...chain(sorted), ...chain(sorted.reverse())];
}
