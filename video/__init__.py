"""Faces in videos: frames, tracking, smoothing, writing."""
