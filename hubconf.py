"""Entry point for torch.hub, which loads the detector from any folder:

detector = torch.hub.load("PATH/TO/CLONE", "keypoint_detector", source="local")
faces = detector(image)
"""

dependencies = ["torch", "torchvision", "numpy", "pandas", "cv2", "safetensors", "PIL"]


def keypoint_detector(name: str | None = None, device: str = "cpu", runtime: str = "auto"):
    """A `KeypointDetector`.

    name: a checkpoint in saved_models/, a folder, or OWNER/NAME on the hub; if not given, the
        default checkpoint.
    device: 'cpu' or 'cuda'. runtime: 'auto', 'torch', 'onnx' or 'onnx-int8'.
    Raises CheckpointError if there is no such checkpoint, or it is damaged.
    """
    from detector import DEFAULT_CHECKPOINT, KeypointDetector

    return KeypointDetector.from_pretrained(name or DEFAULT_CHECKPOINT, device=device, runtime=runtime)
