"""From a run and any number of images to boxes: `Localizer` gives a stream, `predict_to` files that can be resumed."""

from boxless.predict.localizer import Localizer
from boxless.predict.sources import Source, Sources
from boxless.predict.writing import Outcome, how_to_resume, predict_to

__all__ = ["Localizer", "Outcome", "Source", "Sources", "how_to_resume", "predict_to"]
