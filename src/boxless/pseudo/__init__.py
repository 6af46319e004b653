"""Pseudo-labels: what a localizer learns from where images have a class and nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boxless.lazy import lazy

if TYPE_CHECKING:
    from boxless.pseudo.annotators import Annotator as Annotator
    from boxless.pseudo.annotators import Material as Material
    from boxless.pseudo.pixels import choose_boxes as choose_boxes
    from boxless.pseudo.pixels import sample_pixels as sample_pixels
    from boxless.pseudo.pixels import sample_seeds as sample_seeds
    from boxless.pseudo.proposals import ProposalSettings as ProposalSettings
    from boxless.pseudo.proposals import propose as propose
    from boxless.pseudo.records import Proposals as Proposals
    from boxless.pseudo.sources import MapSource as MapSource
    from boxless.pseudo.sources import class_attention as class_attention
    from boxless.pseudo.store import ProposalStore as ProposalStore
    from boxless.pseudo.table import ANNOTATORS as ANNOTATORS
    from boxless.pseudo.table import MAP_SOURCES as MAP_SOURCES

_HOMES = {
    "ANNOTATORS": "table",
    "Annotator": "annotators",
    "MAP_SOURCES": "table",
    "MapSource": "sources",
    "Material": "annotators",
    "ProposalSettings": "proposals",
    "ProposalStore": "store",
    "Proposals": "records",
    "choose_boxes": "pixels",
    "class_attention": "sources",
    "propose": "proposals",
    "sample_pixels": "pixels",
    "sample_seeds": "pixels",
}
__all__ = sorted(_HOMES)

__getattr__, __dir__ = lazy(__name__, _HOMES)
