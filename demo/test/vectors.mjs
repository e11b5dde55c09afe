// Answers of the page's modules on inputs that Python writes: node vectors.mjs FOLDER. FOLDER has input.json,
// RGBA files and networks/; output.json is written beside them. Run by tests/test_demo.py.

import { readFile, writeFile } from "node:fs/promises";
import * as ort from "onnxruntime-web";
import { eyeOpening, headPose, mouthOpening } from "../analysis.js";
import { KeypointDetector } from "../detector.js";
import { resizeArea, toGray, warp } from "../geometry.js";
import { FaceTracker, OneEuroFilter } from "../tracking.js";

const folder = process.argv[2];
const input = JSON.parse(await readFile(`${folder}/input.json`));
// the page loads its files with fetch, which knows no files
globalThis.fetch = async (url) => new Response(await readFile(url));
ort.env.logLevel = "error";

const imageOf = async ({ file, width, height }) => ({ data: new Uint8ClampedArray(await readFile(`${folder}/${file}`)), width, height });
const plain = ({ keypoints, boxXyxy, confidence, radius, visibility, id }) =>
  ({ keypoints: [...keypoints], boxXyxy, confidence, radius: [...radius], visibility: [...visibility], id });
const output = { photos: {}, frames: [], warps: [], poses: [], euro: [] };

for (const network of input.networks) {
  const detector = await KeypointDetector.load(ort, `${folder}/networks/`, { network });
  output.photos[network] = [];
  for (const photo of input.photos) {
    const image = await imageOf(photo);
    const boxes = await detector.findBoxes(toGray(image));
    const { faces, ms } = await detector.detect(image);
    output.photos[network].push({ boxes, faces: faces.map(plain), ms });
  }
  if (network !== input.networks[0]) continue;
  const tracker = new FaceTracker(detector);
  for (const frame of input.frames) {
    const faces = await tracker.update(await imageOf(frame), frame.seconds);
    output.frames.push({ faces: faces.map(plain), ms: tracker.ms });
  }
}
for (const { image, matrix, size, width, height } of input.warps) {
  const gray = toGray(await imageOf(image));
  const crop = new Float32Array(size * size);
  warp(gray, matrix, size, crop, 0);
  output.warps.push({ gray: [...gray.data], crop: [...crop], small: [...resizeArea(gray, width, height).data] });
}
for (const points of input.poses) {
  const keypoints = Float32Array.from(points);
  const { yaw, pitch, roll } = headPose(keypoints);
  output.poses.push({ yaw, pitch, roll, eyes: eyeOpening(keypoints), mouth: mouthOpening(keypoints) });
}
const filter = new OneEuroFilter();
for (const { values, seconds, unit } of input.euro) output.euro.push([...filter.apply(values, seconds, unit)]);
await writeFile(`${folder}/output.json`, JSON.stringify(output));
