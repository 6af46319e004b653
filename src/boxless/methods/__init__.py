"""Methods of weakly supervised localization, one file a paper; this table is the only list of them."""

from boxless.registry import Registry

METHODS = Registry(
    "method",
    {
        "cam": "boxless.methods.cam:CAM",
    },
)
