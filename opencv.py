"""The one place where OpenCV is imported, so that a missing system library is explained once.

from opencv import cv2
"""

try:
    import cv2
except ImportError as error:  # the wheel needs libGL, which slim systems lack
    raise ImportError(
        f"OpenCV cannot be imported ({error}). If a system library is missing: on Debian or Ubuntu "
        "'apt-get install libgl1 libglib2.0-0'; on a machine without a screen 'pip install "
        "opencv-python-headless' in place of opencv-python. If cv2 itself is missing: run 'make test' or "
        "'make notebooks' once, or 'pip install -r requirements.lock'."
    ) from error

__all__ = ["cv2"]
