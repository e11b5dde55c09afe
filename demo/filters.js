// What is put on a face, drawn with canvas paths. The names are those of filters/ in Python.

import { mouthOpening } from "./analysis.js";
import { CAMERA_DISTANCE, HEAD } from "./constants.js";
import * as landmarks from "./landmarks.js";

const { GROUPS } = landmarks;

// All people get one head shape, so its eyes are moved onto those of the face. Its axes: x to the right, y down,
// z to the viewer; the unit is the distance of the outer eye corners, whose middle is the origin.
const ANCHORS = ["RIGHT_EYE_OUTER", "RIGHT_EYE_INNER", "NOSE_TOP", "LEFT_EYE_INNER", "LEFT_EYE_OUTER"].map(
  (name) => landmarks[name],
);
const BELIEVED = 0.15; // radius over inter-ocular distance up to which a point is seen
const HIDDEN = 0.35; // and from which on something hides it
const MOUTH_OPEN = { on: 0.36, off: 0.26 };
const BANDS = ["#e43a42", "#f28c30", "#fad646", "#5cbc5a", "#3c8cdc", "#7454be"];

export const point = (face, i) => [face.keypoints[2 * i], face.keypoints[2 * i + 1]];
const mean = (list) => [0, 1].map((axis) => list.reduce((sum, p) => sum + p[axis], 0) / list.length);
export const interocularDistance = (face) => {
  const [a, b] = landmarks.OUTER_EYE_CORNERS.map((i) => point(face, i));
  return Math.max(Math.hypot(a[0] - b[0], a[1] - b[1]), 1e-6);
};

/** 1 where these points are seen, 0 where something hides them; from their median radius. */
export function trust(face, indices) {
  const radius = indices.map((i) => face.radius[i]).filter(Number.isFinite).sort((a, b) => a - b);
  if (!radius.length) return 1;
  const median = radius[radius.length >> 1] / interocularDistance(face);
  return Math.min(1, Math.max(0, (HIDDEN - median) / (HIDDEN - BELIEVED)));
}

/** The head of one face in front of the camera. pose: of `headPose`. */
export class HeadFrame {
  constructor(face, pose) {
    this.rotation = pose.rotation;
    this.similarity = [1, 0, 0, 0];
    // least squares: the similarity that moves the eyes of the head onto those of the face
    const from = ANCHORS.map((i) => this.project(HEAD[i]));
    const to = ANCHORS.map((i) => point(face, i));
    const [f, t] = [mean(from), mean(to)];
    let [a, b, square] = [0, 0, 0];
    from.forEach(([x, z], i) => {
      const [u, v, w, q] = [x - f[0], z - f[1], to[i][0] - t[0], to[i][1] - t[1]];
      a += u * w + v * q;
      b += u * q - v * w;
      square += u * u + v * v;
    });
    [a, b] = [a / square, b / square];
    this.similarity = [a, b, t[0] - a * f[0] + b * f[1], t[1] - b * f[0] - a * f[1]];
    this.size = Math.hypot(a, b);
  }

  /** Pixels [x, y] of a point [x, y, z] of the head. */
  project([x, y, z]) {
    const [u, v, depth] = this.rotation.map((row) => row[0] * x + row[1] * y - row[2] * z);
    const near = CAMERA_DISTANCE / (CAMERA_DISTANCE + depth);
    const [a, b, dx, dy] = this.similarity;
    return [(a * u - b * v) * near + dx, (b * u + a * v) * near + dy];
  }

  /** The upper outline of the face, from temple to temple over the hairline. */
  forehead() {
    const half = [[0.81, -0.31, -0.45], [0.77, -0.5, -0.33], [0.69, -0.66, -0.19], [0.58, -0.78, -0.06],
      [0.44, -0.87, 0.05], [0.27, -0.93, 0.13], [0, -0.94, 0.15]]; // prettier-ignore
    return [...half, ...half.slice(0, -1).map(([x, y, z]) => [-x, y, z])].map((xyz) => this.project(xyz));
  }

  /** Draw in hundredths of the unit on a plane through a point. side -1: flipped, x to the right of the person.
   *  bend: how far the plane leans back outwards. pin: keypoints whose middle the point is moved onto. */
  onPlane(ctx, xyz, { side = 1, bend = 0, pin = null }, draw) {
    const [x, y, z] = xyz;
    const origin = this.project(xyz);
    const [across, down] = [this.project([x + side, y, z - bend]), this.project([x, y + 1, z])];
    const at = pin ?? origin;
    ctx.save();
    ctx.transform(
      (across[0] - origin[0]) / 100, (across[1] - origin[1]) / 100,
      (down[0] - origin[0]) / 100, (down[1] - origin[1]) / 100, at[0], at[1],
    ); // prettier-ignore
    draw(ctx);
    ctx.restore();
  }

  both(ctx, xyz, options, draw) {
    for (const side of [-1, 1]) this.onPlane(ctx, xyz, { ...options, side }, draw);
  }
}

const gradient = (ctx, x0, y0, x1, y1, ...colours) => {
  const fill = ctx.createLinearGradient(x0, y0, x1, y1);
  colours.forEach((colour, i) => fill.addColorStop(i / (colours.length - 1), colour));
  return fill;
};
const glow = (ctx, x, y, radius, ...colours) => {
  const fill = ctx.createRadialGradient(x, y, 0, x, y, radius);
  colours.forEach((colour, i) => fill.addColorStop(i / (colours.length - 1), colour));
  return fill;
};
const fill = (ctx, style, path) => {
  ctx.fillStyle = style;
  ctx.fill(new Path2D(path));
};
const stroke = (ctx, style, width, path) => {
  ctx.strokeStyle = style;
  ctx.lineWidth = width;
  ctx.lineCap = ctx.lineJoin = "round";
  ctx.stroke(new Path2D(path));
};

/** The arms of glasses; the one behind the head is left out. */
function arms(ctx, head, colour, width) {
  const [left, right] = [head.project([-1, 0, 0]), head.project([1, 0, 0])];
  for (const side of [-1, 1]) {
    const [hinge, ear] = [head.project([side * 0.66, -0.07, 0.1]), head.project([side * 0.86, -0.03, -0.7])];
    const out = side * ((ear[0] - hinge[0]) * (right[0] - left[0]) + (ear[1] - hinge[1]) * (right[1] - left[1]));
    if (out > 0) {
      const shade = ctx.createLinearGradient(...hinge, ...ear);
      shade.addColorStop(0.6, colour);
      shade.addColorStop(1, `${colour}00`);
      stroke(ctx, shade, width * head.size, `M${hinge} L${ear}`);
    }
  }
}

function spectacles(ctx, head, outline, { glass, rim, width, shine }) {
  arms(ctx, head, rim, 0.06);
  head.both(ctx, [0, 0.045, 0.24], { bend: 0.22 }, () => {
    fill(ctx, glass, outline);
    ctx.save();
    ctx.clip(new Path2D(outline));
    fill(ctx, `rgba(255,255,255,${shine})`, "M18 30 L36 -30 L48 -30 L30 30Z M38 30 L56 -30 L60 -30 L42 30Z");
    ctx.restore();
    stroke(ctx, rim, width, `${outline} M0 -12 C4 -12 8 -11 11 -8`);
    stroke(ctx, "rgba(255,255,255,.35)", width / 5, "M16 -17 C28 -20 48 -20 60 -15");
  });
}

const LENS = "M12 -12 C20 -19 54 -20 63 -14 C68 -6 62 24 40 24 C20 24 8 6 12 -12Z";
const RIM = "M12 2 C11 -14 20 -18 37 -18 C56 -18 64 -14 63 3 C62 18 54 24 38 24 C20 24 13 16 12 2Z";

const PAINTERS = {
  sunglasses(ctx, head) {
    const glass = gradient(ctx, 0, -20, 0, 26, "rgba(12,12,16,.97)", "rgba(50,44,44,.86)");
    spectacles(ctx, head, LENS, { glass, rim: "#121214", width: 4, shine: 0.13 });
  },
  glasses(ctx, head) {
    spectacles(ctx, head, RIM, { glass: "rgba(70,92,104,.13)", rim: "#261a16", width: 4.5, shine: 0.16 });
  },
  moustache(ctx, head, face) {
    const around = [landmarks.NOSE_BASE_CENTRE, landmarks.UPPER_LIP_TOP];
    ctx.globalAlpha = trust(face, GROUPS.outer_lips);
    const pin = mean(around.map((i) => point(face, i)));
    head.both(ctx, [0, 0.6, 0.42], { bend: 0.25, pin }, () => {
      const hair = gradient(ctx, 0, -12, 0, 22, "#4c3524", "#22160d");
      fill(ctx, hair, "M0 -6 C10 -15 24 -10 34 0 C42 7 52 5 58 -6 C63 10 50 24 33 20 C18 18 7 14 0 6Z");
      for (let i = 0; i < 9; i++) {
        const y = i * 2 - 7;
        const line = `M2 ${y / 2} C14 ${y - 4} 26 ${y / 2 + 4} 36 ${y / 2 + 10} S52 ${12 - y / 3} 56 ${3 - y / 3}`;
        stroke(ctx, i % 2 ? "rgba(150,112,80,.35)" : "rgba(10,6,3,.4)", 0.7, line);
      }
    });
  },
  cat_ears(ctx, head) {
    head.both(ctx, [0, -0.86, -0.25], { bend: 0.3 }, () => {
      fill(ctx, gradient(ctx, 40, 10, 80, -80, "#4c3a30", "#6e5648"),
        "M12 4 C18 -34 50 -76 80 -84 C96 -54 98 -12 88 22 C66 -8 40 -12 12 4Z"); // prettier-ignore
      fill(ctx, gradient(ctx, 50, 0, 76, -66, "#f0b4a8", "#c9827a"),
        "M32 -8 C38 -34 58 -60 74 -66 C82 -44 82 -18 78 -2 C64 -14 48 -14 32 -8Z"); // prettier-ignore
      for (let i = 0; i < 8; i++) {
        const x = 36 + 5 * i;
        stroke(ctx, "rgba(246,228,218,.75)", 1, `M${x} -6 Q${x + 4} -22 ${x + 12} ${-30 - (i % 3) * 6}`);
      }
    });
  },
  dog(ctx, head, face) {
    head.both(ctx, [0, 0, -0.2], { bend: 0.35 }, () => {
      const ear = "M26 -94 C50 -128 96 -118 110 -82 C124 -44 122 0 106 22 C90 34 80 6 78 -24 C75 -56 56 -72 26 -94Z";
      fill(ctx, gradient(ctx, 40, -110, 110, 20, "#a2693c", "#7a4a28", "#54301a"), ear);
      stroke(ctx, "rgba(40,20,8,.35)", 2, "M78 -24 C74 -58 58 -72 30 -92");
      fill(ctx, "rgba(255,220,180,.13)", "M52 -104 C78 -112 100 -92 108 -60 C92 -84 74 -96 52 -104Z");
    });
    ctx.globalAlpha = trust(face, GROUPS.nose_base);
    head.onPlane(ctx, [0, 0.42, 0.58], { pin: point(face, landmarks.NOSE_TIP) }, () => {
      const nose = "M-19 -6 C-16 -15 16 -15 19 -6 C20 4 8 13 0 15 C-8 13 -20 4 -19 -6Z";
      fill(ctx, glow(ctx, -5, -9, 30, "#5a5254", "#1d191b", "#0c0a0b"), nose);
      fill(ctx, "#000", "M-9 2 a3.5 2.5 0 1 0 .1 0Z M9 2 a3.5 2.5 0 1 0 .1 0Z");
      fill(ctx, "rgba(255,255,255,.55)", "M-10 -8 C-6 -12 2 -12 4 -9 C0 -8 -6 -7 -10 -8Z");
    });
  },
  party_hat(ctx, head) {
    const cone = "M-48 0 L-3 -124 Q0 -128 3 -124 L48 0 Q0 20 -48 0Z";
    head.onPlane(ctx, [0, -0.86, -0.1], {}, () => {
      fill(ctx, gradient(ctx, -48, 0, 48, 0, "#c42f63", "#f4588c", "#a82352"), cone);
      ctx.save();
      ctx.clip(new Path2D(cone));
      for (let i = 0; i < 5; i++) {
        const y = 4 - 30 * i;
        stroke(ctx, ["#ffd447", "#4bc3e8"][i % 2], 8, `M-60 ${y - 24} Q0 ${y + 26} 60 ${y - 6}`);
      }
      fill(ctx, gradient(ctx, -48, 0, 48, 0, "rgba(0,0,0,.25)", "rgba(255,255,255,.12)", "rgba(0,0,0,.3)"), cone);
      ctx.restore();
      fill(ctx, glow(ctx, -4, -130, 22, "#fff6c8", "#ffd447", "#d99a1c"), "M0 -140 a13 13 0 1 0 .1 0Z");
    });
  },
  lipstick(ctx, head, face) {
    const ring = (group) => `M${GROUPS[group].map((i) => point(face, i)).join(" L")}Z`;
    ctx.globalAlpha = 0.6 * trust(face, GROUPS.outer_lips);
    for (const [mode, colour] of [["color", "#c2183c"], ["multiply", "#d8788c"]]) {
      ctx.globalCompositeOperation = mode;
      ctx.fillStyle = colour;
      ctx.fill(new Path2D(`${ring("outer_lips")} ${ring("inner_lips")}`), "evenodd");
    }
  },
  rainbow(ctx, head, face) {
    const inner = GROUPS.inner_lips.map((i) => point(face, i));
    const [right, left] = [landmarks.INNER_MOUTH_RIGHT, landmarks.INNER_MOUTH_LEFT].map((i) => point(face, i));
    const width = 100 * Math.max(Math.hypot(left[0] - right[0], left[1] - right[1]) / head.size, 0.3);
    head.onPlane(ctx, [0, 0.78, 0.4], { pin: mean(inner) }, () => {
      BANDS.forEach((colour, i) => {
        const edge = (n) => (n / BANDS.length - 0.5) * width;
        const [a, b] = [edge(i), edge(i + 1) + 0.6];
        const shade = gradient(ctx, 0, 0, 0, 170, `${colour}00`, ...Array(7).fill(`${colour}ea`), `${colour}90`, `${colour}00`);
        fill(ctx, shade, `M${0.8 * a} 0 Q${0.82 * a} 60 ${1.15 * a} 170 L${1.15 * b} 170 Q${0.82 * b} 60 ${0.8 * b} 0Z`);
      });
    });
  },
};

export const FILTERS = Object.keys(PAINTERS);

/** The filters of one picture or video; it remembers whose mouth is open, by the id of the face. */
export class Filters {
  #open = new Map();

  /** Paint onto a canvas, the smallest face first. poses: of `headPose`, one per face. */
  paint(name, ctx, faces, poses) {
    const order = faces.map((_, i) => i).sort((a, b) => interocularDistance(faces[a]) - interocularDistance(faces[b]));
    for (const i of order) {
      if (!poses[i] || (name === "rainbow" && !this.#isMouthOpen(faces[i], i))) continue;
      ctx.save();
      PAINTERS[name](ctx, new HeadFrame(faces[i], poses[i]), faces[i]);
      ctx.restore();
    }
  }

  // two thresholds, so that it does not flicker when the mouth stays near one
  #isMouthOpen(face, i) {
    const id = face.id ?? i;
    const opening = mouthOpening(face.keypoints);
    const isOpen = opening >= (this.#open.get(id) ? MOUTH_OPEN.off : MOUTH_OPEN.on);
    this.#open.set(id, isOpen);
    return isOpen;
  }
}
