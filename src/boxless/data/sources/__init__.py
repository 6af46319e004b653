"""The data formats that boxless reads: one file each, and one line in this table."""

from boxless.registry import Registry

# The order is that in which a source is recognised: the most telling signs first.
SOURCES = Registry(
    "source",
    {
        "wsol": "boxless.data.sources.wsol:WsolSource",
        "glas": "boxless.data.sources.glas:GlasSource",
        "youtube_objects": "boxless.data.sources.youtube_objects:YouTubeObjectsSource",
        "imagefolder": "boxless.data.sources.imagefolder:ImageFolderSource",
        "coco": "boxless.data.sources.coco:CocoSource",
        "csv": "boxless.data.sources.table:TableSource",
        "video": "boxless.data.sources.video:VideoSource",
        "folder": "boxless.data.sources.folder:FolderSource",
    },
)
