"""The only list of sources of maps for pseudo-labels; it imports none of them."""

from boxless.registry import Registry

MAP_SOURCES = Registry(
    "map_source",
    {
        "attention": "boxless.pseudo.sources:Attention",
        "spectral": "boxless.pseudo.sources:Spectral",
    },
)
