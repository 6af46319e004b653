"""The bundled sample: garments on crops of real photographs, rendered on first use; licences are in ``NOTICE.md``."""

from __future__ import annotations

from boxless.data.sample.writing import VERSION, write_sample

__all__ = ["VERSION", "write_sample"]
