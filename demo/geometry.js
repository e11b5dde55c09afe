// Boxes, matrices and pixels: the part of geometry.py that the page needs, under the same names.
//
// Pixel (0, 0) is centred at the coordinate (0, 0). A box is [left, top, right, bottom] with right and bottom
// exclusive. A matrix is [a, b, c, d, e, f]: x' = a x + b y + c, y' = d x + e y + f. Keypoints are a
// Float32Array of x and y in turn. A gray image is {data: Uint8Array, width, height}.

import { FLIP_ORDER, GROUPS } from "./landmarks.js";

/** The nearest whole number, halves to the even one, as Python rounds. */
export function round(value) {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below & 1) : Math.round(value);
}

// --- boxes -----------------------------------------------------------------------------------------

export function boxFromKeypoints(keypoints) {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < keypoints.length; i += 2) {
    left = Math.min(left, keypoints[i]);
    right = Math.max(right, keypoints[i]);
    top = Math.min(top, keypoints[i + 1]);
    bottom = Math.max(bottom, keypoints[i + 1]);
  }
  return [left, top, right + 1, bottom + 1];
}

export const boxCentre = ([left, top, right, bottom]) => [(left + right) / 2 - 0.5, (top + bottom) / 2 - 0.5];
export const boxSide = ([left, top, right, bottom]) => Math.max(right - left, bottom - top);
const area = ([left, top, right, bottom]) => (right - left) * (bottom - top);

function shared(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  return Math.max(width, 0) * Math.max(height, 0);
}

/** Shared area over the area of both boxes together. */
export function boxIou(a, b) {
  const both = shared(a, b);
  return both / (area(a) + area(b) - both);
}

/** Shared area over that of the smaller box. */
export const boxOverlap = (a, b) => shared(a, b) / Math.min(area(a), area(b));

/** Larger side of the box around keypoints, in pixels. */
export const faceSize = (keypoints) => boxSide(boxFromKeypoints(keypoints));

/** Mean distance between the points of two faces, in sizes of the smaller one. */
export function faceDistance(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i += 2) sum += Math.hypot(a[i] - b[i], a[i + 1] - b[i + 1]);
  return sum / (a.length / 2) / Math.min(faceSize(a), faceSize(b));
}

// --- matrices --------------------------------------------------------------------------------------

export function cropMatrix([x, y], side, size, rotationDeg = 0) {
  const scale = size / side;
  const angle = (rotationDeg * Math.PI) / 180;
  const [cos, sin] = [Math.cos(angle) * scale, Math.sin(angle) * scale];
  const middle = (size - 1) / 2;
  return [cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y];
}

export const squareCropMatrix = (box, scale, size) => cropMatrix(boxCentre(box), scale * boxSide(box), size);

export function transformPoints(points, [a, b, c, d, e, f]) {
  const moved = new Float32Array(points.length);
  for (let i = 0; i < points.length; i += 2) {
    moved[i] = a * points[i] + b * points[i + 1] + c;
    moved[i + 1] = d * points[i] + e * points[i + 1] + f;
  }
  return moved;
}

export function invert([a, b, c, d, e, f]) {
  const det = a * e - b * d;
  const [p, q, r, s] = [e / det, -b / det, -d / det, a / det];
  return [p, q, -p * c - q * f, r, s, -r * c - s * f];
}

/** The matrix that applies `first`, then `second`. */
export function compose([a, b, c, d, e, f], [p, q, r, s, t, u]) {
  return [a * p + b * s, a * q + b * t, a * r + b * u + c, d * p + e * s, d * q + e * t, d * r + e * u + f];
}

export const matrixScale = ([a, b, , d, e]) => Math.sqrt(Math.abs(a * e - b * d));

function middle(keypoints, group) {
  let [x, y] = [0, 0];
  for (const i of GROUPS[group]) [x, y] = [x + keypoints[2 * i], y + keypoints[2 * i + 1]];
  return [x / GROUPS[group].length, y / GROUPS[group].length];
}

/** Roll of a face in degrees, counter-clockwise on the screen. */
export function faceRoll(keypoints) {
  const [right, left, mouth] = ["right_eye", "left_eye", "outer_lips"].map((name) => middle(keypoints, name));
  const down = [0, 1].map((axis) => mouth[axis] - (right[axis] + left[axis]) / 2);
  return (-Math.atan2(left[1] - right[1] - down[0], left[0] - right[0] + down[1]) * 180) / Math.PI;
}

export function faceCropMatrix(keypoints, scale, size, alignRoll) {
  if (!alignRoll) return squareCropMatrix(boxFromKeypoints(keypoints), scale, size);
  const turn = -faceRoll(keypoints);
  const upright = cropMatrix([0, 0], 1, 1, turn);
  const box = boxFromKeypoints(transformPoints(keypoints, upright));
  const [a, b, c, d, e, f] = invert(upright);
  const [x, y] = boxCentre(box);
  return cropMatrix([a * x + b * y + c, d * x + e * y + f], scale * boxSide(box), size, turn);
}

export function flipKeypoints(keypoints, width) {
  const flipped = new Float32Array(keypoints.length);
  FLIP_ORDER.forEach((from, to) => {
    flipped[2 * to] = width - 1 - keypoints[2 * from];
    flipped[2 * to + 1] = keypoints[2 * from + 1];
  });
  return flipped;
}

// --- pixels ----------------------------------------------------------------------------------------

/** RGBA to gray with the weights of OpenCV. */
export function toGray({ data, width, height }) {
  const gray = new Uint8Array(width * height);
  for (let i = 0, j = 0; i < gray.length; i++, j += 4) {
    gray[i] = (9798 * data[j] + 19235 * data[j + 1] + 3735 * data[j + 2] + 16384) >> 15;
  }
  return { data: gray, width, height };
}

/** For each new place the old ones that it covers: [first, [weights]]. */
function covered(size, newSize) {
  const step = size / newSize;
  return Array.from({ length: newSize }, (_, i) => {
    const [begin, end] = [i * step, Math.min((i + 1) * step, size)];
    const first = Math.floor(begin + 1e-9);
    const weights = [];
    for (let place = first; place < end - 1e-9; place++) {
      weights.push((Math.min(place + 1, end) - Math.max(place, begin)) / step);
    }
    return [first, weights];
  });
}

/** A smaller copy of a gray image; each pixel is the mean of the area that it covers. */
export function resizeArea({ data, width, height }, newWidth, newHeight) {
  if (newWidth === width && newHeight === height) return { data, width, height };
  const [columns, rows] = [covered(width, newWidth), covered(height, newHeight)];
  const result = new Uint8Array(newWidth * newHeight);
  const line = new Float32Array(newWidth);
  rows.forEach(([top, weights], y) => {
    line.fill(0);
    weights.forEach((weight, dy) => {
      const row = (top + dy) * width;
      for (let x = 0; x < newWidth; x++) {
        const [left, across] = columns[x];
        let sum = 0;
        for (let dx = 0; dx < across.length; dx++) sum += across[dx] * data[row + left + dx];
        line[x] += weight * sum;
      }
    });
    for (let x = 0; x < newWidth; x++) result[y * newWidth + x] = round(line[x]);
  });
  return { data: result, width: newWidth, height: newHeight };
}

/** Write the crop of a gray image at `matrix`, size x size, 0 to 1, into `out` from `offset`. */
export function warp(image, matrix, size, out, offset) {
  const block = Math.min(Math.floor(1 / Math.max(matrixScale(matrix), 1e-9)), image.height, image.width);
  if (block >= 2) {
    const [width, height] = [round(image.width / block), round(image.height / block)];
    const [sx, sy] = [width / image.width, height / image.height];
    matrix = compose(matrix, invert([sx, 0, 0.5 * sx - 0.5, 0, sy, 0.5 * sy - 0.5]));
    image = shrunk(image, width, height);
  }
  const { data, width, height } = image;
  const [a, b, c, d, e, f] = invert(matrix);
  const at = (x, y) => (x >= 0 && y >= 0 && x < width && y < height ? data[y * width + x] : 0);
  // OpenCV's arithmetic: places in 1/1024 pixel, rounded to 1/32
  const across = Array.from({ length: size }, (_, x) => [round(a * x * 1024), round(d * x * 1024)]);
  for (let y = 0; y < size; y++) {
    const [startX, startY] = [round((b * y + c) * 1024) + 16, round((e * y + f) * 1024) + 16];
    for (let x = 0; x < size; x++) {
      const px = (startX + across[x][0]) >> 5;
      const py = (startY + across[x][1]) >> 5;
      const [left, top] = [px >> 5, py >> 5];
      const [u, v] = [(px & 31) / 32, (py & 31) / 32];
      const upper = at(left, top) * (1 - u) + at(left + 1, top) * u;
      const lower = at(left, top + 1) * (1 - u) + at(left + 1, top + 1) * u;
      out[offset++] = Math.round(upper * (1 - v) + lower * v) / 255;
    }
  }
}

/** A smaller copy, made once for all faces of an image. */
function shrunk(image, width, height) {
  image.copies ??= new Map();
  if (!image.copies.has(width)) image.copies.set(width, resizeArea(image, width, height));
  return image.copies.get(width);
}
