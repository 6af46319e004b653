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
        "dips": "boxless.pseudo.annotators:RegionProposals",
        "clip": "boxless.pseudo.annotators:ClassMaps",
    },
)
DEFAULT_ANNOTATOR = "dips"
