"""Methods of weakly supervised localization, one file a paper; this table is the only list of them."""

from boxless.registry import Registry

METHODS = Registry(
    "method",
    {
        "cam": "boxless.methods.cam:CAM",
        "has": "boxless.methods.has:HaS",
        "cutmix": "boxless.methods.cutmix:CutMix",
        "acol": "boxless.methods.acol:ACoL",
        "adl": "boxless.methods.adl:ADL",
        "spg": "boxless.methods.spg:SPG",
        "nl_ccam": "boxless.methods.nl_ccam:NLCCAM",
        "bas": "boxless.methods.bas:BAS",
        "bcam": "boxless.methods.bcam:BCAM",
        "attention": "boxless.methods.self_supervised:SelfSupervised",
        "dips": "boxless.methods.dips:DiPS",
        "dips_unet": "boxless.methods.dips_unet:DiPSUNet",
        "fcam": "boxless.methods.fcam:FCAM",
        "ted_loc": "boxless.methods.ted_loc:TeDLoc",
    },
)

DEFAULT_METHOD = "cam"  # for a user who names none: it trains on any backbone in minutes
