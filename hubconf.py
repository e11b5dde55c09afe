"""Entry point for torch.hub, which loads the detector in any project, also in one with its own models.py:

detector = torch.hub.load("PATH/TO/CLONE", "keypoint_detector", source="local")
faces = detector(image)
"""

dependencies = ["numpy", "cv2", "PIL"]


def keypoint_detector(name: str | None = None, **options):
    """A `facial_keypoints.KeypointDetector`.

    name: a checkpoint in saved_models/, a folder, or OWNER/NAME on the hub; if not given, the default
        checkpoint.
    options: device ('cpu', 'cuda'), runtime ('auto', 'torch', 'onnx', 'onnx-int8') and the others of
        `KeypointDetector.from_pretrained`.
    Raises CheckpointError if there is no such checkpoint, or it is damaged.
    """
    from facial_keypoints import DEFAULT_CHECKPOINT, KeypointDetector

    return KeypointDetector.from_pretrained(name or DEFAULT_CHECKPOINT, **options)
