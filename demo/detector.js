// From an image to keypoints: the arithmetic of detector/predictor.py and detector/face_finders.py.
//
//   const detector = await KeypointDetector.load(ort, "networks/");
//   const { faces, ms } = await detector.detect(imageData);

import { FINDER, MIN_CONFIDENCE, MIN_FIRST_CONFIDENCE, SAME_ANSWER, VISIBLE_FROM } from "./constants.js";
import {
  boxFromKeypoints, boxIou, boxOverlap, boxSide, faceCropMatrix, faceDistance, faceSize, flipKeypoints, invert,
  matrixScale, resizeArea, round, squareCropMatrix, toGray, transformPoints, warp,
} from "./geometry.js";
import { FLIP_ORDER, NUM_KEYPOINTS } from "./landmarks.js";

const BATCH = 16; // crops in one call of the network
const FACE_FINDER = "face_finder";

/** A face: keypoints (Float32Array of 68 x, y), boxXyxy and radius (Float32Array of 68) in pixels of the image,
 *  confidence and visibility (Float32Array of 68) 0 to 1. */
export class KeypointDetector {
  /** ort: ONNX Runtime Web. baseUrl: the folder with NETWORK/config.json and NETWORK/model-int8.onnx.
   *  onProgress(done, total): bytes, while the files are loaded. */
  static async load(ort, baseUrl, { network = "heatmapnet-small", providers = ["wasm"], threads = 1, onProgress } = {}) {
    ort.env.wasm.numThreads = threads;
    const names = [FACE_FINDER, network];
    const counts = {};
    const count = (name, done, total) => {
      counts[name] = [done, total];
      const sums = [0, 1].map((i) => Object.values(counts).reduce((sum, pair) => sum + pair[i], 0));
      onProgress?.(sums[0], Object.keys(counts).length === names.length ? sums[1] : 0);
    };
    const parts = await Promise.all(
      names.map(async (name) => {
        const config = await (await answer(`${baseUrl}${name}/config.json`)).json();
        const bytes = await download(`${baseUrl}${name}/model-int8.onnx`, (done, total) => count(name, done, total));
        return [config, bytes];
      }),
    );
    const options = { executionProviders: providers, graphOptimizationLevel: "all" };
    const sessions = [];
    for (const [, bytes] of parts) sessions.push(await ort.InferenceSession.create(bytes, options));
    const detector = new KeypointDetector();
    detector.ort = ort;
    [detector.finderConfig, detector.config] = parts.map(([config]) => config);
    [detector.finder, detector.network] = sessions;
    detector.provider = providers[0];
    return detector;
  }

  /** All faces of an image, each once, the largest first, and the milliseconds of each stage. */
  async detect(imageData, { minConfidence = MIN_CONFIDENCE } = {}) {
    const clock = new Clock();
    const gray = toGray(imageData);
    const boxes = await clock.time("find", () => this.findBoxes(gray));
    const faces = await this.search(gray, boxes, minConfidence, clock);
    return { faces, ms: clock.parts() };
  }

  /** Boxes that may be faces, the highest score first. */
  async findBoxes(gray) {
    const { input, scale } = finderInput(gray, this.finderConfig.long_side);
    const images = new this.ort.Tensor("float32", input.data, [1, 1, input.height, input.width]);
    const { scores, boxes } = await this.finder.run({ images });
    const [height, width] = scores.dims.slice(1);
    const found = peakBoxes(scores.data, boxes.data, width, height, this.finderConfig.min_score).map(
      ({ box, score }) => ({ score, box: box.map((value, i) => value / scale[i % 2]) }),
    );
    // a box may lie in the rows and columns that were added
    const inside = found.filter(({ box }) => box[0] < gray.width && box[1] < gray.height && box[2] > 0 && box[3] > 0);
    return suppress(inside).slice(0, FINDER.maxBoxes);
  }

  /** The faces that boxes lead to: one pass more than for given boxes, filtered after each pass. */
  async search(gray, boxes, minConfidence, clock = new Clock()) {
    const { box_scale, input_size, passes } = this.config;
    let matrices = boxes.map((box) => squareCropMatrix(box, box_scale, input_size));
    let faces = [];
    for (let number = 0; number <= passes; number++) {
      faces = await this.predict(gray, matrices, number === passes, clock);
      faces = filterFaces(faces, Math.min(number ? minConfidence : MIN_FIRST_CONFIDENCE, minConfidence));
      matrices = faces.map((face) => this.keypointsMatrix(face.keypoints));
    }
    return faces;
  }

  /** The faces that were at these keypoints in the frame before: one pass around each, in the same order. */
  async follow(gray, keypoints, clock = new Clock()) {
    return this.predict(gray, keypoints.map((points) => this.keypointsMatrix(points)), true, clock);
  }

  keypointsMatrix(keypoints) {
    return faceCropMatrix(keypoints, this.config.crop_scale, this.config.input_size, this.config.align_roll);
  }

  /** One pass: an answer per matrix from the image to a crop. */
  async predict(gray, matrices, isLast, clock) {
    const faces = [];
    for (let start = 0; start < matrices.length; start += BATCH) {
      faces.push(...(await this.predictBatch(gray, matrices.slice(start, start + BATCH), isLast, clock)));
    }
    return faces;
  }

  async predictBatch(gray, matrices, isLast, clock) {
    const { input_size: size, gray_range: [low, high], keypoint_mean: mean, keypoint_std: std } = this.config;
    const flips = this.config.flip_tta && isLast;
    const pixels = size * size;
    const crops = new Float32Array(matrices.length * (flips ? 2 : 1) * pixels);
    matrices.forEach((matrix, i) => warp(gray, matrix, size, crops, i * pixels));
    if (flips) flipCrops(crops, size, matrices.length);
    if (low !== 0 || high !== 1) crops.forEach((value, i) => (crops[i] = value * (high - low) + low));
    const images = new this.ort.Tensor("float32", crops, [crops.length / pixels, 1, size, size]);
    const { keypoints, confidence, radius, visibility } = await clock.time("network", () => this.network.run({ images }));
    const answers = Array.from({ length: crops.length / pixels }, (_, i) => ({
      keypoints: keypoints.data.slice(i * 2 * NUM_KEYPOINTS, (i + 1) * 2 * NUM_KEYPOINTS).map((v) => v * std + mean),
      confidence: confidence.data[i],
      radius: radius.data.slice(i * NUM_KEYPOINTS, (i + 1) * NUM_KEYPOINTS).map((v) => v * std),
      visibility: visibility.data.slice(i * NUM_KEYPOINTS, (i + 1) * NUM_KEYPOINTS),
    }));
    return matrices.map((matrix, i) => {
      const crop = flips ? flipsAveraged(answers[i], answers[i + matrices.length], size) : answers[i];
      const points = transformPoints(crop.keypoints, invert(matrix));
      const scale = matrixScale(matrix);
      return {
        keypoints: points,
        boxXyxy: boxFromKeypoints(points),
        confidence: crop.confidence,
        radius: crop.radius.map((r) => r / scale),
        visibility: crop.visibility.map((v, k) => (isInside(gray, points, k) ? v : 0)),
      };
    });
  }
}

/** True for a point whose visibility is known and too low. */
export const isHidden = (face, k) => face.visibility?.[k] < VISIBLE_FROM;

/** Milliseconds by stage: find, network and the rest. */
export class Clock {
  begin = performance.now();
  spent = { find: 0, network: 0 };

  async time(stage, run) {
    const begin = performance.now();
    const result = await run();
    this.spent[stage] += performance.now() - begin;
    return result;
  }

  parts() {
    return { ...this.spent, rest: performance.now() - this.begin - this.spent.find - this.spent.network };
  }
}

// --- loading ---------------------------------------------------------------------------------------

async function answer(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} cannot be loaded: ${response.status}`);
  return response;
}

async function download(url, onProgress) {
  const response = await answer(url);
  const total = Number(response.headers.get("Content-Length"));
  const chunks = [];
  let done = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done: ended, value } = await reader.read();
    if (ended) break;
    chunks.push(value);
    done += value.length;
    onProgress(done, total);
  }
  const bytes = new Uint8Array(done);
  let place = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, place);
    place += chunk.length;
  }
  return bytes;
}

// --- the face finder -------------------------------------------------------------------------------

/** The reduced gray copy, 0 to 1, its last row and column repeated up to multiples of a cell; its scale x, y. */
export function finderInput(gray, longSide) {
  const factor = Math.min(1, longSide / Math.max(gray.height, gray.width));
  const [newWidth, newHeight] = [gray.width, gray.height].map((side) => Math.max(round(side * factor), 1));
  const copy = resizeArea(gray, newWidth, newHeight);
  const [width, height] = [newWidth, newHeight].map((side) => Math.ceil(side / FINDER.cellMultiple) * FINDER.cellMultiple);
  const data = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    const row = Math.min(y, newHeight - 1) * newWidth;
    for (let x = 0; x < width; x++) data[y * width + x] = copy.data[row + Math.min(x, newWidth - 1)] / 255;
  }
  return { input: { data, width, height }, scale: [newWidth / gray.width, newHeight / gray.height] };
}

/** Boxes of the cells that are the highest of their 3 x 3 neighbours, the highest score first. */
export function peakBoxes(scores, boxes, width, height, minScore) {
  const found = [];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [cell, score] = [y * width + x, scores[y * width + x]];
      if (score < minScore) continue;
      let isPeak = true;
      for (let v = Math.max(y - 1, 0); v <= Math.min(y + 1, height - 1); v++) {
        for (let u = Math.max(x - 1, 0); u <= Math.min(x + 1, width - 1); u++) {
          isPeak &&= scores[v * width + u] <= score;
        }
      }
      if (isPeak) found.push({ score, box: [0, 1, 2, 3].map((side) => boxes[side * width * height + cell]) });
    }
  }
  return found.sort((a, b) => b.score - a.score);
}

/** Boxes that overlap none of a higher score too much: non-maximum suppression. */
export function suppress(found) {
  const kept = [];
  for (const { box } of found) {
    if (kept.every((other) => boxIou(box, other) <= FINDER.maxIou)) kept.push(box);
  }
  return kept;
}

// --- which answers are reported --------------------------------------------------------------------

function flipCrops(crops, size, count) {
  for (let i = 0; i < count * size * size; i += size) {
    for (let x = 0; x < size; x++) crops[count * size * size + i + x] = crops[i + size - 1 - x];
  }
}

function flipsAveraged(plain, flipped, size) {
  const other = flipKeypoints(flipped.keypoints, size);
  return {
    keypoints: plain.keypoints.map((value, i) => (value + other[i]) / 2),
    confidence: (plain.confidence + flipped.confidence) / 2,
    radius: plain.radius.map((value, i) => (value + flipped.radius[FLIP_ORDER[i]]) / 2),
    visibility: plain.visibility.map((value, i) => (value + flipped.visibility[FLIP_ORDER[i]]) / 2),
  };
}

function isInside({ width, height }, keypoints, k) {
  const [x, y] = [keypoints[2 * k] + 0.5, keypoints[2 * k + 1] + 0.5];
  return x >= 0 && y >= 0 && x < width && y < height;
}

export function sameFace(a, b) {
  return (
    faceDistance(a, b) <= SAME_ANSWER.distance || boxOverlap(boxFromKeypoints(a), boxFromKeypoints(b)) > SAME_ANSWER.overlap
  );
}

/** The faces that are reported: confident enough, each once, the largest first. */
export function filterFaces(faces, minConfidence) {
  const error = (face) => face.radius.reduce((sum, r) => sum + r, 0) / face.radius.length / faceSize(face.keypoints);
  const rank = (face) => [Number(face.confidence < MIN_CONFIDENCE), error(face)];
  const left = faces
    .filter((face) => face.confidence >= minConfidence)
    .map((face) => ({ face, rank: rank(face) }))
    .sort((a, b) => a.rank[0] - b.rank[0] || a.rank[1] - b.rank[1]);
  const kept = [];
  for (const { face } of left) {
    if (!kept.some((other) => sameFace(face.keypoints, other.keypoints))) kept.push(face);
  }
  return kept.sort((a, b) => boxSide(b.boxXyxy) - boxSide(a.boxXyxy));
}
