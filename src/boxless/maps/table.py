"""The only list of maps; it imports none of them."""

from boxless.registry import Registry

MAPS = Registry(
    "map",
    {
        "cam": "boxless.maps.linear:ClassActivationMap",
        "gradcam": "boxless.maps.gradient:GradCAM",
        "gradcam++": "boxless.maps.gradient:GradCAMPlusPlus",
        "smoothgradcam++": "boxless.maps.gradient:SmoothGradCAMPlusPlus",
        "xgradcam": "boxless.maps.gradient:XGradCAM",
        "layercam": "boxless.maps.gradient:LayerCAM",
        "scorecam": "boxless.maps.score:ScoreCAM",
        "sscam": "boxless.maps.score:SSCAM",
        "iscam": "boxless.maps.score:ISCAM",
        "rollout": "boxless.maps.attention:AttentionRollout",
        "gradrollout": "boxless.maps.attention:GradientAttentionRollout",
    },
)

DEFAULT_MAP = "gradcam"  # it runs on every network that has a gradient
