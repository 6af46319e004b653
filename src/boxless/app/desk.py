"""What the page asks for, and gets as plain values: images to look at, decisions kept, exports made."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from boxless.app.memory import Latest, Remembering
from boxless.app.pictures import preview, tint
from boxless.app.places import Places
from boxless.app.review import FILE_NAME, Exported, Review, confidence_of, export
from boxless.errors import BoxlessError, DataError
from boxless.maps.sanity import KINDS
from boxless.predict.localizer import Localizer
from boxless.predict.options import Options
from boxless.stream import batched

if TYPE_CHECKING:
    from boxless.predict.sources import Source
    from boxless.types import Prediction

Answer = dict[str, Any]

_LOG = logging.getLogger(__name__)
_BATCH = 8  # images that the network sees at once in the background: a person who asks for one waits as long
_PAUSE = 0.01  # seconds between two such batches, in which a person's own request gets the network


def _answered(ask: Callable[[Desk, Any], Answer]) -> Callable[[Desk, Any], Answer]:
    """Errors are answers too: the user's in its own words, any other without its inside, which goes to the terminal."""

    @wraps(ask)
    def answer(self: Desk, request: Any = None) -> Answer:
        try:
            return ask(self, request if isinstance(request, Mapping) else {})
        except BoxlessError as error:
            return {"error": str(error)}
        except Exception as error:
            _LOG.exception("the page asked for something and this went wrong")
            return {"error": f"boxless failed ({type(error).__name__}); the terminal that it runs in says more."}

    return answer


@final
class Desk:
    """A review with the network that looks at its images.

    Args:
        localizer: Looks at them.
        folder: Of images; None for those that are dropped on the page alone.
        save_to: The folder for decisions, dropped images and exports.

    Raises:
        DataError: The folder cannot be used.
        RunError: ``save_to`` holds another review.
    """

    def __init__(self, localizer: Localizer, folder: Path | None, save_to: Path) -> None:
        self._localizer = localizer
        self._remembering = Localizer(Remembering(localizer.engine))  # for one image at a time
        self.engine = localizer.engine
        self.save_to = save_to
        self.places = Places(folder, save_to)
        self.options = Options()
        root = "" if self.places.root is None else str(self.places.root)
        self.review = Review(save_to / FILE_NAME, self.engine.classes, root, self.engine.digest)
        sources, refused = self.places.list()
        self.review.add(sources)
        for name, reason in refused.items():
            self.review.refuse(name, reason)
        self._state = threading.RLock()  # of all above
        self._network = threading.Lock()  # methods may hook into their network while they look
        self._trouble = ""
        self._looked: Latest[Prediction] = Latest(32)
        self._pictures: Latest[str] = Latest(4)
        self._worker: threading.Thread | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Let the network look at all that it has not seen, in the background."""
        with self._state:
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(target=self.see_all, name="boxless-app", daemon=True)
                self._worker.start()

    def wait(self) -> None:
        """Look at images until someone presses Ctrl-C."""
        self.start()
        with suppress(KeyboardInterrupt):
            self._stopped.wait()

    def close(self) -> None:
        """Stop looking."""
        self._stopped.set()
        if self._worker is not None:
            self._worker.join()

    @_answered
    def begin(self, request: Any) -> Answer:
        """What a page has to know once."""
        return {"classes": list(self.review.classes), "progress": self._progress()}

    @_answered
    def look(self, request: Any) -> Answer:
        """The image ``name``, or the next in the queue, in which those of ``passed`` come last.

        With ``boxes_only`` its pixels, which the page has, are left out.
        """
        name = request.get("name")
        if name is not None:
            return self._shown(str(name), boxes_only=bool(request.get("boxes_only")))
        return self._next(request)

    @_answered
    def decide(self, request: Any) -> Answer:
        """Keep the ``verdict`` on the image ``name`` with its ``boxes``, and show the next one."""
        shown = self._look(str(request.get("name")))
        with self._state:
            self.review.decide(shown, str(request.get("verdict")), request.get("boxes"))
        return self._next(request)

    @_answered
    def undo(self, request: Any) -> Answer:
        """Take the latest decision back and show its image."""
        with self._state:
            name = self.review.undo()
        if name is None:
            return {"error": "There is no decision to take back."}
        return {**self._shown(name), "undone": True}

    @_answered
    def progress(self, request: Any) -> Answer:
        """How far the review and the network are."""
        return {"progress": self._progress()}

    def set_options(self, **settings: Any) -> None:
        """Change how boxes are found, for every image from now on.

        Raises:
            ConfigError: A setting that cannot be.
        """
        self.options = replace(Options(), **settings)

    def take(self, uploads: Iterable[Path]) -> tuple[list[str], list[str]]:
        """Add uploaded images: their names, and why others cannot be used."""
        taken: list[Source] = []
        refused: list[str] = []
        for upload in uploads:
            try:
                taken.append(self.places.take(upload))
            except DataError as error:
                refused.append(str(error).replace(str(upload), upload.name))
            finally:
                upload.unlink(missing_ok=True)
        with self._state:
            self.review.add(taken)
        self.start()
        return [each.name for each in taken], refused

    def export(self, formats: Sequence[str]) -> Exported:
        """Write what was accepted; see `boxless.app.review.export`."""
        with self._state:
            return export(self.review, formats, self.save_to / "export")

    def see_all(self) -> None:
        """Look at all that was not seen; what goes wrong is said on the page."""
        try:
            while not self._stopped.is_set():
                with self._state:
                    unseen = self.review.unseen()
                if not unseen:
                    return
                for batch in batched(unseen, _BATCH):
                    self._see(batch)
                    if self._stopped.wait(_PAUSE):
                        return
        except BoxlessError as error:
            self._trouble = str(error)
        except Exception as error:
            _LOG.exception("the network failed")
            self._trouble = f"The network failed ({type(error).__name__}); the terminal that it runs in says more."

    def _see(self, batch: Sequence[Source]) -> None:
        refused: dict[str, str] = {}
        allowed = [each for each in batch if self._may_be_read(each, refused)]
        with self._network:
            predictions = self._localizer.predict(
                allowed, batch_size=_BATCH, on_error=lambda path, name, error: refused.update({name: str(error)})
            )
            confidences = {each.name: confidence_of(each) for each in predictions}
        with self._state:
            for name, reason in refused.items():
                self.review.refuse(name, reason)
            if confidences:
                self.review.saw(confidences)

    def _may_be_read(self, source: Source, refused: dict[str, str]) -> bool:
        try:
            self.places.check(source.path)
        except DataError as error:
            refused[source.name] = str(error)
        return source.name not in refused

    def _look(self, name: str) -> Prediction:
        """What the network says of an image with the options of now."""
        with self._state:
            path, options = self.review.path(name), self.options
        self.places.check(path)

        def predict() -> Prediction:
            return replace(self._remembering.predict_image(path, options), path=path, name=name)

        with self._network:
            return self._looked.get((name, options), predict)

    def _next(self, request: Mapping[str, Any]) -> Answer:
        passed = request.get("passed")
        later = [str(each) for each in passed] if isinstance(passed, list) else []
        while True:
            with self._state:
                name = self.review.next(later)
            if name is None:
                return {"name": None, "progress": self._progress()}
            try:
                answer = self._shown(name)
            except DataError as error:  # it was changed or removed since it was seen
                with self._state:
                    self.review.refuse(name, str(error))
            else:
                threading.Thread(target=self._prepare, args=([*later, name],), daemon=True).start()
                return answer

    def _prepare(self, later: Sequence[str]) -> None:
        """Look at what comes after ``later`` while the person looks at the last of it, so that it is there at once."""
        with suppress(Exception):  # it will be said when its turn comes
            with self._state:
                name = self.review.next(later)
            if name is not None:
                self._picture(self._look(name))

    def _picture(self, said: Prediction) -> str:
        return self._pictures.get(said.name, lambda: preview(said.path))

    def _shown(self, name: str, *, boxes_only: bool = False) -> Answer:
        said = self._look(name)
        answer: Answer = {}
        if not boxes_only:
            answer = {"image": self._picture(said), "map": tint(said.map)}
        with self._state:
            decision = self.review.decision(name)
            answer["progress"] = self._progress()
        boxes = said.boxes if decision is None else decision.prediction.boxes
        return {
            **answer,
            "name": name,
            "size": said.size,
            "label": said.label,
            "score": said.score,
            "threshold": said.threshold,
            "presence": said.presence,
            "absent": said.absent,
            "warning": None
            if said.warning is None
            else f"The map {KINDS[said.warning].one}: {KINDS[said.warning].meaning}.",
            "boxes": [{"xyxy": box.xyxy, "label": box.label_index, "score": box.score} for box in boxes],
            "verdict": None if decision is None else decision.verdict,
        }

    def _progress(self) -> Answer:
        with self._state:
            progress = self.review.progress()
            refused = list(self.review.refused.values())
        return {
            **asdict(progress),
            "left": progress.left,
            "reasons": refused[:20],
            "trouble": self._trouble,
            "saved_to": str(self.save_to),
        }
