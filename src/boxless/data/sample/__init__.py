"""The bundled sample: garments on crops of real photographs, rendered where it is needed; ``NOTICE.md`` has the licences."""

from __future__ import annotations

from boxless.data.sample.writing import write_sample

__all__ = ["write_sample"]
