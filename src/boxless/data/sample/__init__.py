"""The bundled sample: garments on crops of real photographs, rendered on first use; licences are in ``NOTICE.md``."""

from __future__ import annotations

from boxless.data.sample.clips import VERSION as CLIPS_VERSION
from boxless.data.sample.clips import write_clips
from boxless.data.sample.writing import VERSION, write_sample

__all__ = ["CLIPS_VERSION", "VERSION", "write_clips", "write_sample"]
