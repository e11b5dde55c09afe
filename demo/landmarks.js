// Written by `python -m tools.demo --constants` from landmarks.py.

export const CHIN = 8;
export const CLOSED_GROUPS = new Set(["inner_lips", "left_eye", "outer_lips", "right_eye"]);
export const FLIP_ORDER = [16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65];
export const GROUPS = {"jaw": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], "right_brow": [17, 18, 19, 20, 21], "left_brow": [22, 23, 24, 25, 26], "nose_bridge": [27, 28, 29, 30], "nose_base": [31, 32, 33, 34, 35], "right_eye": [36, 37, 38, 39, 40, 41], "left_eye": [42, 43, 44, 45, 46, 47], "outer_lips": [48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59], "inner_lips": [60, 61, 62, 63, 64, 65, 66, 67]};
export const INNER_51 = [17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67];
export const INNER_LIP_PAIRS = [[61, 67], [62, 66], [63, 65]];
export const INNER_MOUTH_LEFT = 64;
export const INNER_MOUTH_RIGHT = 60;
export const JAW_LEFT = 16;
export const JAW_RIGHT = 0;
export const LEFT_EYE_INNER = 42;
export const LEFT_EYE_OUTER = 45;
export const LEFT_LID_PAIRS = [[43, 47], [44, 46]];
export const LOWER_LIP_BOTTOM = 57;
export const MOUTH_LEFT = 54;
export const MOUTH_RIGHT = 48;
export const NOSE_BASE_CENTRE = 33;
export const NOSE_TIP = 30;
export const NOSE_TOP = 27;
export const NUM_KEYPOINTS = 68;
export const OUTER_EYE_CORNERS = [36, 45];
export const REGIONS = {"jaw": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], "brows": [17, 18, 19, 20, 21, 22, 23, 24, 25, 26], "nose": [27, 28, 29, 30, 31, 32, 33, 34, 35], "eyes": [36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47], "mouth": [48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67]};
export const RIGHT_EYE_INNER = 39;
export const RIGHT_EYE_OUTER = 36;
export const RIGHT_LID_PAIRS = [[37, 41], [38, 40]];
export const UPPER_LIP_TOP = 51;
