"""For torch.hub: `torch.hub.load(REPOSITORY, "hand_estimator", side="auto")` gives a predict.HandEstimator."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from predicting.estimator import HandEstimator

dependencies = ["torch", "numpy", "scipy", "cv2", "roma", "safetensors", "warp", "jaxtyping", "lightning_fabric"]


def hand_estimator(**options: Any) -> "HandEstimator":
    """Depth frames -> hands, with the shipped weights; options are those of HandEstimator."""
    from predicting.estimator import HandEstimator

    return HandEstimator(**options)
