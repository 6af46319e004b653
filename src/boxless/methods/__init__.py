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
        "ts_cam": "boxless.methods.ts_cam:TSCAM",
        "scm": "boxless.methods.scm:SCM",
        "sat": "boxless.methods.sat:SAT",
        "attention": "boxless.methods.self_supervised:SelfSupervised",
        "dips": "boxless.methods.dips:DiPS",
        "dips_unet": "boxless.methods.dips_unet:DiPSUNet",
        "fcam": "boxless.methods.fcam:FCAM",
        "tcam": "boxless.methods.tcam:TCAM",
        "tr_cam_v": "boxless.methods.tr_cam_v:TrCAMV",
        "clip": "boxless.methods.clip:CLIP",
        "sclip": "boxless.methods.sclip:SCLIP",
        "naclip": "boxless.methods.naclip:NACLIP",
        "clip_es": "boxless.methods.clip_es:CLIPES",
        "clipseg": "boxless.methods.clipseg:CLIPSeg",
        "ted_loc": "boxless.methods.ted_loc:TeDLoc",
    },
)

DEFAULT_METHOD = "fcam"  # for a user who names none: the best boxes that no true box chose, see docs/methods.md
MULTI_LABEL_METHOD = "cam"  # the same where images show several classes: its maps are of one class each
DEFAULT_ZERO_SHOT = "clip_es"  # what CLIP teaches with where no method is named: the thesis takes its boxes and maps
