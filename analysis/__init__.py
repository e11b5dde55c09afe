"""What keypoints tell about a face: head pose, openings, blinks, alignment, hiding a face."""
