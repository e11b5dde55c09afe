// Results as text. The formats are those of detector/formats.py, and Python reads what is written here.

import { isHidden } from "./detector.js";
import { CLOSED_GROUPS, GROUPS, NUM_KEYPOINTS } from "./landmarks.js";

const PTS_ORIGIN = 1; // these files count pixels from 1
const [HIDDEN, VISIBLE] = [1, 2]; // v of COCO

const round = (value, decimals = 3) => Number(value.toFixed(decimals));
const rounded = (values) => Array.from(values, (value) => round(value));
const points = (face) =>
  Array.from({ length: NUM_KEYPOINTS }, (_, i) => rounded(face.keypoints.slice(2 * i, 2 * i + 2)));

/** A face as `Face.to_dict` in Python: 3 decimals, confidence 4, what is unknown null. */
export function toDict(face) {
  return {
    box_xyxy: rounded(face.boxXyxy),
    confidence: Number.isFinite(face.confidence) ? round(face.confidence, 4) : null,
    keypoints: points(face),
    radius: face.radius.every(Number.isFinite) ? rounded(face.radius) : null,
    visibility: face.visibility?.every(Number.isFinite) ? rounded(face.visibility) : null,
  };
}

/** JSON of one image, as `write_results(..., "json")`. size: {width, height}. */
export function toJson(image, size, faces) {
  return JSON.stringify([{ image, size_wh: [size.width, size.height], faces: faces.map(toDict) }]);
}

/** An iBUG .pts file of one face. */
export function toPts(face) {
  const lines = points(face).map((xy) => xy.map((value) => (value + PTS_ORIGIN).toFixed(3)).join(" "));
  return ["version: 1", `n_points: ${lines.length}`, "{", ...lines, "}", ""].join("\n");
}

/** The names of the .pts files of `count` faces, as `pts_names` in Python. */
export function ptsNames(image, count) {
  return Array.from({ length: count }, (_, i) => `${image}${i ? `.face${i}` : ""}.pts`);
}

function category() {
  const groups = Object.entries(GROUPS);
  const lines = ([name, indices]) =>
    indices
      .map((index, i) => [index + 1, (indices[i + 1] ?? indices[0]) + 1])
      .slice(0, CLOSED_GROUPS.has(name) ? undefined : -1);
  return {
    id: 1,
    name: "face",
    supercategory: "person",
    keypoints: groups.flatMap(([name, indices]) => indices.map((_, place) => `${name}_${place}`)),
    skeleton: groups.flatMap(lines),
  };
}

function annotation(face, i) {
  const { box_xyxy: box, confidence, keypoints, radius, visibility } = toDict(face);
  const [width, height] = [round(box[2] - box[0]), round(box[3] - box[1])];
  return {
    id: i + 1,
    image_id: 1,
    category_id: 1,
    iscrowd: 0,
    bbox: [box[0], box[1], width, height],
    area: round(width * height),
    segmentation: [],
    num_keypoints: NUM_KEYPOINTS,
    keypoints: keypoints.flatMap((xy, k) => [...xy, isHidden(face, k) ? HIDDEN : VISIBLE]),
    ...(confidence === null ? {} : { score: confidence }),
    ...(radius === null ? {} : { radius }),
    ...(visibility === null ? {} : { visibility }),
  };
}

/** COCO keypoints of one image. size: {width, height}. */
export function toCoco(image, size, faces) {
  return JSON.stringify({
    info: { description: "68 facial keypoints, iBUG 300-W order" },
    licenses: [],
    categories: [category()],
    images: [{ id: 1, file_name: image, width: size.width, height: size.height }],
    annotations: faces.map(annotation),
  });
}

/** Rows of [face, point, group, x, y, radius], as text. */
export function toRows(faces) {
  const number = (value, decimals) => (Number.isFinite(value) ? value.toFixed(decimals) : "");
  return faces.flatMap((face, f) =>
    Object.entries(GROUPS).flatMap(([group, indices]) =>
      indices.map((i) => [
        String(face.id ?? f),
        String(i),
        group.replace("_", " "),
        number(face.keypoints[2 * i], 1),
        number(face.keypoints[2 * i + 1], 1),
        number(face.radius[i], 1),
      ]),
    ),
  );
}

/** The rows with a header, separated by tabs, as a spreadsheet takes them. */
export function toTable(faces) {
  return [["face", "point", "group", "x", "y", "radius"], ...toRows(faces)].map((row) => row.join("\t")).join("\n");
}
