// Faces followed from frame to frame, each with an id: video/tracker.py and video/smoothing.py, with the nearest
// pairs in place of the least sum of distances.

import { MIN_CONFIDENCE, ONE_EURO, TRACKER } from "./constants.js";
import { Clock } from "./detector.js";
import { boxCentre, boxFromKeypoints, boxSide, faceDistance, faceSize, toGray } from "./geometry.js";
import { OUTER_EYE_CORNERS } from "./landmarks.js";

const weight = (cutoffHz, stepS) => 1 / (1 + 1 / (2 * Math.PI * cutoffHz * stepS));

/** The One Euro filter (Casiez et al., CHI 2012) on an array of numbers. */
export class OneEuroFilter {
  constructor(settings = ONE_EURO) {
    this.settings = settings;
  }

  /** The filtered values at a time in seconds. unit: the length in which speeds are measured. */
  apply(values, timeS, unit = 1) {
    if (!this.raw) {
      [this.raw, this.smooth, this.speed] = [values, Float64Array.from(values), new Float64Array(values.length)];
    } else {
      const { restingHz, gain, speedHz } = this.settings;
      const step = timeS - this.timeS;
      this.smooth = this.smooth.map((value, i) => {
        const speed = (values[i] - this.raw[i]) / step;
        this.speed[i] += weight(speedHz, step) * (speed - this.speed[i]);
        return value + weight(restingHz + (gain * Math.abs(this.speed[i])) / unit, step) * (values[i] - value);
      });
      this.raw = values;
    }
    this.timeS = timeS;
    return Float32Array.from(this.smooth);
  }
}

/** Inter-ocular distance in pixels, at least half of the larger side of the face's box. */
export function eyeDistance(keypoints) {
  const [right, left] = OUTER_EYE_CORNERS.map((i) => [keypoints[2 * i], keypoints[2 * i + 1]]);
  return Math.max(Math.hypot(right[0] - left[0], right[1] - left[1]), TRACKER.frontalShare * faceSize(keypoints));
}

/** Centre and size of a face's box, and the velocity of the centre; see video/tracker.py. */
export class Motion {
  constructor(keypoints, timeS) {
    const box = boxFromKeypoints(keypoints);
    [this.centre, this.sides] = [boxCentre(box), sidesOf(box)];
    [this.velocity, this.timeS] = [[0, 0], timeS];
  }

  update(keypoints, timeS) {
    const box = boxFromKeypoints(keypoints);
    const step = timeS - this.timeS;
    const expected = this.centre.map((value, i) => value + this.velocity[i] * step);
    const error = boxCentre(box).map((value, i) => value - expected[i]);
    const far = Math.hypot(...error) / Math.max(...this.sides);
    const gain = Math.min(TRACKER.minGain + TRACKER.gainPerSize * far, 1);
    this.centre = expected.map((value, i) => value + gain * error[i]);
    this.velocity = this.velocity.map((value, i) => value + (gain ** 2 / (2 - gain) / step) * error[i]);
    this.sides = this.sides.map((side, i) => side * (sidesOf(box)[i] / side) ** TRACKER.sizeGain);
    this.timeS = timeS;
  }

  /** Keypoints moved and scaled to where the face should be. */
  place(keypoints, timeS) {
    const box = boxFromKeypoints(keypoints);
    const scale = sidesOf(box).map((side, i) => (this.sides[i] - 1) / Math.max(side - 1, 1e-6));
    const centre = this.centre.map((value, i) => value + this.velocity[i] * (timeS - this.timeS));
    const middle = boxCentre(box);
    return keypoints.map((value, i) => (value - middle[i % 2]) * scale[i % 2] + centre[i % 2]);
  }
}

const sidesOf = ([left, top, right, bottom]) => [right - left, bottom - top];

export class FaceTracker {
  ms = { find: 0, network: 0, rest: 0 };
  tracks = [];
  nextId = 0;

  /** searchEvery: frames between searches for new faces; each frame is searched while none is known. */
  constructor(detector, { searchEvery = TRACKER.searchEvery } = {}) {
    this.detector = detector;
    this.searchEvery = this.sinceSearch = searchEvery;
  }

  /** The faces in a frame at a time in seconds, each with its id, sorted by id. */
  async update(imageData, seconds) {
    const clock = new Clock();
    const timeS = Math.max(seconds, (this.timeS ?? -1) + 1e-3);
    this.timeS = timeS;
    if (this.width !== imageData.width || this.height !== imageData.height) {
      [this.width, this.height, this.tracks, this.sinceSearch] = [imageData.width, imageData.height, [], this.searchEvery];
    }
    const gray = toGray(imageData);
    await this.follow(gray, timeS, clock);
    this.sinceSearch++;
    const seen = () => this.tracks.filter((track) => track.seenS === timeS);
    if (!seen().length || this.sinceSearch >= this.searchEvery) await this.search(gray, timeS, seen(), clock);
    this.tracks = this.tracks.filter((track) => timeS - track.seenS <= TRACKER.rememberS);
    this.ms = clock.parts();
    return seen()
      .sort((a, b) => a.id - b.id)
      .map(({ id, face, smooth }) => ({ ...face, id, keypoints: smooth, boxXyxy: boxFromKeypoints(smooth) }));
  }

  async follow(gray, timeS, clock) {
    const known = this.tracks.filter((track) => track.followed);
    const expected = known.map((track) => track.motion.place(track.face.keypoints, timeS));
    const faces = await this.detector.follow(gray, expected, clock);
    const taken = [];
    faces.forEach((face, i) => {
      const isSame = this.isFace(face) && faceDistance(face.keypoints, expected[i]) <= TRACKER.reach;
      const isNew = !taken.some((points) => faceDistance(points, face.keypoints) < TRACKER.sameFace);
      known[i].followed = isSame && isNew;
      if (!known[i].followed) return;
      taken.push(face.keypoints);
      known[i].motion.update(face.keypoints, timeS);
      this.see(known[i], face, timeS);
    });
  }

  async search(gray, timeS, seen, clock) {
    this.sinceSearch = 0;
    const known = seen.map((track) => track.face.keypoints);
    const found = await clock.time("find", () => this.detector.findBoxes(gray));
    const boxes = found.filter((box) => !known.some((points) => isTaken(box, points)));
    for (const face of await this.detector.search(gray, boxes, MIN_CONFIDENCE, clock)) {
      if (!this.isFace(face) || known.some((points) => faceDistance(points, face.keypoints) < TRACKER.sameFace)) continue;
      known.push(face.keypoints);
      const track = this.lost(face, timeS) ?? { id: this.nextId++ };
      if (!this.tracks.includes(track)) this.tracks.push(track);
      Object.assign(track, { motion: new Motion(face.keypoints, timeS), filter: new OneEuroFilter(), followed: true });
      this.see(track, face, timeS);
    }
  }

  /** The lost face that was seen nearest to this one, if it is near enough and of its size. */
  lost(face, timeS) {
    const near = this.tracks
      .filter((track) => track.seenS < timeS)
      .map((track) => ({ track, far: faceDistance(track.face.keypoints, face.keypoints) }))
      .filter(({ track, far }) => far < TRACKER.reachAgain && sizeChange(track.face.keypoints, face.keypoints) <= TRACKER.sizeChangeAgain);
    return near.sort((a, b) => a.far - b.far)[0]?.track;
  }

  isFace(face) {
    return face.confidence >= MIN_CONFIDENCE && shareInside(face.keypoints, this) >= TRACKER.minInside;
  }

  see(track, face, timeS) {
    const smooth = track.filter.apply(face.keypoints, timeS, eyeDistance(face.keypoints));
    Object.assign(track, { face, seenS: timeS, smooth });
  }
}

function sizeChange(a, b) {
  const ratio = faceSize(a) / faceSize(b);
  return Math.max(ratio, 1 / ratio);
}

function shareInside(keypoints, { width, height }) {
  let count = 0;
  for (let i = 0; i < keypoints.length; i += 2) {
    count += keypoints[i] >= 0 && keypoints[i] < width && keypoints[i + 1] >= 0 && keypoints[i + 1] < height;
  }
  return count / (keypoints.length / 2);
}

/** True for a box around a known face: near its centre, and at most twice as large. */
function isTaken(box, keypoints) {
  const [a, b] = [boxCentre(box), boxCentre(boxFromKeypoints(keypoints))];
  const size = faceSize(keypoints);
  return Math.hypot(a[0] - b[0], a[1] - b[1]) < TRACKER.sameHead * size && boxSide(box) <= 2 * size;
}
