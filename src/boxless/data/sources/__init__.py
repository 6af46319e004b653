"""The data formats that boxless reads: one file each, and one line in this table."""

from boxless.registry import Registry

# The order is that in which a source is recognised: the most telling signs first.
SOURCES = Registry(
    "source",
    {
        "folder": "boxless.data.sources.folder:FolderSource",
    },
)
