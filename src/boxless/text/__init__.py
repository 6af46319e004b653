"""Class names as text: towers that embed prompts, templates that make prompts, names that classes go by.

`boxless.text.class_texts` gives the embeddings of a data set's classes; nothing heavy is imported before it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from boxless.lazy import lazy

if TYPE_CHECKING:
    from boxless.text.classes import ClassTexts as ClassTexts
    from boxless.text.classes import class_texts as class_texts
    from boxless.text.names import Named as Named
    from boxless.text.names import name_classes as name_classes
    from boxless.text.prompts import TEMPLATES as TEMPLATES
    from boxless.text.prompts import templates as templates
    from boxless.text.sharpness import search_templates as search_templates
    from boxless.text.sharpness import sharpness as sharpness
    from boxless.text.towers import FileText as FileText
    from boxless.text.towers import OpenClipText as OpenClipText
    from boxless.text.towers import TextTower as TextTower
    from boxless.text.towers import dimensions as dimensions
    from boxless.text.towers import open_text as open_text
    from boxless.text.towers import write_text_file as write_text_file

_HOMES = {
    "ClassTexts": "classes",
    "FileText": "towers",
    "Named": "names",
    "OpenClipText": "towers",
    "TEMPLATES": "prompts",
    "TextTower": "towers",
    "class_texts": "classes",
    "dimensions": "towers",
    "name_classes": "names",
    "open_text": "towers",
    "search_templates": "sharpness",
    "sharpness": "sharpness",
    "templates": "prompts",
    "write_text_file": "towers",
}
__all__ = sorted(_HOMES)

__getattr__, __dir__ = lazy(__name__, _HOMES)
