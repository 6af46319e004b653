"""The only lists of sources of maps for pseudo-labels and of annotators; it imports none of them."""

from boxless.registry import Registry

MAP_SOURCES = Registry(
    "map_source",
    {
        "attention": "boxless.pseudo.sources:Attention",
        "spectral": "boxless.pseudo.sources:Spectral",
    },
)
ANNOTATORS = Registry(
    "annotator",
    {
        "selective_search": "boxless.pseudo.selective_search:SelectiveSearch",
        "rpn": "boxless.pseudo.rpn:RegionProposalNetwork",
        "clip": "boxless.pseudo.annotators:ZeroShotMaps",
        "class_map": "boxless.pseudo.annotators:ClassMaps",
        "attention": "boxless.pseudo.annotators:AttentionRegions",
        "spectral": "boxless.pseudo.annotators:SpectralRegions",
        "dips": "boxless.pseudo.annotators:RegionProposals",
        "file": "boxless.pseudo.listed:ListedBoxes",
    },
)
DEFAULT_ANNOTATOR = "dips"
# Of val, where a recipe says auto: the first that is at hand.
ZERO_SHOT_ANNOTATOR = "clip"  # asks no classifier of the data; the thesis' best on ILSVRC
FREE_ANNOTATOR = "selective_search"  # needs no weights
