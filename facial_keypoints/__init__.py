"""68 facial keypoints on any face, under one name for other projects.

    from facial_keypoints import KeypointDetector
    detector = KeypointDetector.from_pretrained()
    faces = detector("photo.jpg")

The modules of the repository are below it: facial_keypoints.video, .analysis, .filters, .models and so on.
In the repository itself they are imported without it (`from detector import KeypointDetector`). Use one of
the two in a program: the classes of one are not those of the other.
"""

from pathlib import Path

if (Path(__file__).parent / "clone.py").is_file():  # in a clone; what is installed holds the modules itself
    import facial_keypoints.clone  # noqa: F401

from facial_keypoints.detector import *  # noqa: F403
from facial_keypoints.detector import __all__  # noqa: F401
