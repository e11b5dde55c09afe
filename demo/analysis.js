// Head pose and openings of a face: analysis/head_pose.py and analysis/openings.py.

import { CAMERA_DISTANCE, FRONT_Z, HEAD, JAW_ON_EDGE, JAW_ROUNDS, POSE_POINTS } from "./constants.js";
import {
  GROUPS, INNER_LIP_PAIRS, INNER_MOUTH_LEFT, INNER_MOUTH_RIGHT, LEFT_EYE_INNER, LEFT_EYE_OUTER, LEFT_LID_PAIRS,
  RIGHT_EYE_INNER, RIGHT_EYE_OUTER, RIGHT_LID_PAIRS,
} from "./landmarks.js";

const radians = (degrees) => (degrees * Math.PI) / 180;
const degrees = (angle) => (angle * 180) / Math.PI;
const distance = (k, a, b) => Math.hypot(k[2 * a] - k[2 * b], k[2 * a + 1] - k[2 * b + 1]);

function opening(keypoints, pairs, corner, other) {
  const height = pairs.reduce((sum, [upper, lower]) => sum + distance(keypoints, upper, lower), 0) / pairs.length;
  const width = distance(keypoints, corner, other);
  return width > 0 ? height / width : NaN;
}

/** Height over width of the right and the left eye. */
export const eyeOpening = (keypoints) => [
  opening(keypoints, RIGHT_LID_PAIRS, RIGHT_EYE_OUTER, RIGHT_EYE_INNER),
  opening(keypoints, LEFT_LID_PAIRS, LEFT_EYE_OUTER, LEFT_EYE_INNER),
];

/** Height over width of the gap between the lips. */
export const mouthOpening = (keypoints) => opening(keypoints, INNER_LIP_PAIRS, INNER_MOUTH_RIGHT, INNER_MOUTH_LEFT);

// --- head pose -------------------------------------------------------------------------------------

/** Degrees by which a head is turned, with the signs of Python, and its rotation (rows), x right, y down, z away.
 *  A fixed head is fitted to the keypoints by Levenberg-Marquardt, seen by a camera that points at the face. */
export function headPose(keypoints) {
  const camera = assumedCamera(keypoints);
  let pose = fitHead(keypoints, camera, startPose(keypoints));
  for (let round = 0; round < JAW_ROUNDS; round++) {
    pose = fitHead(jawPutBack(keypoints, pose, camera), camera, pose.values);
  }
  return { yaw: pose.yaw, pitch: pose.pitch, roll: pose.roll, rotation: pose.rotation, translation: pose.values.slice(3), camera };
}

function assumedCamera(keypoints) {
  const [x, y] = [0, 1].map((axis) => keypoints.filter((_, i) => i % 2 === axis));
  const spread = (values) => Math.max(...values) - Math.min(...values);
  const middle = (values) => (Math.max(...values) + Math.min(...values)) / 2;
  const head = [0, 1].map((axis) => spread(HEAD.map((point) => point[axis])));
  const focal = (CAMERA_DISTANCE * Math.max(spread(x), spread(y))) / Math.max(...head);
  return { focal, x: middle(x), y: middle(y) };
}

/** Six numbers: rotation vector and translation. The start is a frontal head with the roll of the eyes. */
function startPose(keypoints) {
  const [right, left] = [RIGHT_EYE_OUTER, LEFT_EYE_OUTER];
  const roll = Math.atan2(keypoints[2 * left + 1] - keypoints[2 * right + 1], keypoints[2 * left] - keypoints[2 * right]);
  return [0, 0, roll, 0, 0, CAMERA_DISTANCE];
}

/** The rotation by a vector, as rows (Rodrigues). */
function rotationOf([x, y, z]) {
  const angle = Math.hypot(x, y, z);
  if (angle < 1e-12) return [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
  const [a, b, c] = [x / angle, y / angle, z / angle];
  const [sin, cos] = [Math.sin(angle), Math.cos(angle)];
  const t = 1 - cos;
  return [
    [t * a * a + cos, t * a * b - sin * c, t * a * c + sin * b],
    [t * a * b + sin * c, t * b * b + cos, t * b * c - sin * a],
    [t * a * c - sin * b, t * b * c + sin * a, t * c * c + cos],
  ];
}

const dot = (row, [x, y, z]) => row[0] * x + row[1] * y + row[2] * z;

function residuals(values, keypoints, camera) {
  const rotation = rotationOf(values);
  return POSE_POINTS.flatMap((index) => {
    const [x, y, z] = HEAD[index];
    const [u, v, w] = rotation.map((row, i) => dot(row, [x, y, -z]) + values[3 + i]);
    return [
      (camera.focal * u) / w + camera.x - keypoints[2 * index],
      (camera.focal * v) / w + camera.y - keypoints[2 * index + 1],
    ];
  });
}

function fitHead(keypoints, camera, start) {
  let values = [...start];
  let errors = residuals(values, keypoints, camera);
  const cost = (list) => list.reduce((sum, value) => sum + value * value, 0);
  for (let damping = 1e-3, round = 0; round < 40 && damping < 1e8; round++) {
    const slopes = values.map((value, i) => {
      const step = values.with(i, value + 1e-6);
      return residuals(step, keypoints, camera).map((error, k) => (error - errors[k]) / 1e-6);
    });
    const square = slopes.map((a) => slopes.map((b) => a.reduce((sum, value, k) => sum + value * b[k], 0)));
    const side = slopes.map((a) => -a.reduce((sum, value, k) => sum + value * errors[k], 0));
    square.forEach((row, i) => (row[i] *= 1 + damping));
    const change = solve(square, side);
    const moved = values.map((value, i) => value + change[i]);
    const now = residuals(moved, keypoints, camera);
    if (moved[5] > 0 && cost(now) < cost(errors)) {
      const done = cost(errors) - cost(now) < 1e-9 * cost(errors);
      [values, errors, damping] = [moved, now, damping / 10];
      if (done) break;
    } else damping *= 10;
  }
  const rotation = rotationOf(values);
  return { values, rotation, ...angles(rotation) };
}

/** The solution of a small linear system, by elimination with pivots. */
function solve(matrix, side) {
  const rows = matrix.map((row, i) => [...row, side[i]]);
  rows.forEach((_, i) => {
    const pivot = rows.slice(i).reduce((best, row, k) => (Math.abs(row[i]) > Math.abs(rows[best][i]) ? i + k : best), i);
    [rows[i], rows[pivot]] = [rows[pivot], rows[i]];
    rows.forEach((row, k) => {
      if (k === i) return;
      const factor = row[i] / (rows[i][i] || 1e-12);
      rows[k] = row.map((value, j) => value - factor * rows[i][j]);
    });
  });
  return rows.map((row, i) => row.at(-1) / (row[i] || 1e-12));
}

function angles(rotation) {
  return {
    yaw: degrees(Math.atan2(rotation[2][0], rotation[2][2])),
    pitch: degrees(Math.asin(Math.min(1, Math.max(-1, rotation[2][1])))),
    roll: degrees(Math.atan2(rotation[0][1], rotation[1][1])),
  };
}

/** Keypoints with the jaw moved a part of the way from the visible edge of the cheek to its place on the head. */
function jawPutBack(keypoints, pose, camera) {
  const scale = camera.focal / pose.values[5];
  const [[cy, sy], [cp, sp], [cr, sr]] = [pose.yaw, pose.pitch, pose.roll].map((angle) => [Math.cos(radians(angle)), Math.sin(radians(angle))]);
  const turn = [[cy, 0, sy], [-sp * sy, cp, sp * cy], [-cp * sy, -sp, cp * cy]];
  const flat = ([x, y]) => [scale * (cr * x + sr * y), scale * (cr * y - sr * x)];
  const jaw = GROUPS.jaw.map((i) => HEAD[i]);
  const [halfWidth, height] = [0, 1].map((axis) => Math.max(...jaw.map((point) => Math.abs(point[axis]))));
  const moved = Float32Array.from(keypoints);
  jaw.forEach(([x, y, z], k) => {
    const across = [x * turn[0][0], x * turn[1][0]];
    const forward = [(FRONT_Z - z) * turn[0][2], (FRONT_Z - z) * turn[1][2]];
    const outwards = [x / halfWidth ** 2, y / height ** 2];
    const t = Math.atan2(outwards[0] * forward[0] + outwards[1] * forward[1], outwards[0] * across[0] + outwards[1] * across[1]);
    const at = Math.min(Math.PI / 2, Math.max(0, t));
    const edge = [0, 1].map((i) => dot(turn[i], [0, y, z]) + across[i] * Math.cos(at) + forward[i] * Math.sin(at));
    const onHead = [0, 1].map((i) => dot(turn[i], [x, y, z]));
    const step = flat([onHead[0] - edge[0], onHead[1] - edge[1]]);
    moved[2 * GROUPS.jaw[k]] += JAW_ON_EDGE * step[0];
    moved[2 * GROUPS.jaw[k] + 1] += JAW_ON_EDGE * step[1];
  });
  return moved;
}
