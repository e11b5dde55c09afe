"""Entry points for torch.hub, so that the detector works from any folder:

detector = torch.hub.load("PATH/TO/CLONE", "keypoint_detector", source="local")
faces = detector(image)
"""

dependencies = ["torch", "torchvision", "numpy", "pandas", "cv2", "safetensors"]


def keypoint_detector(name: str | None = None, device: str = "cpu"):
    """A `KeypointDetector`; name: a checkpoint in saved_models/ , a folder, or OWNER/NAME."""
    from detector import DEFAULT_CHECKPOINT, KeypointDetector

    return KeypointDetector.from_pretrained(name or DEFAULT_CHECKPOINT, device=device)
