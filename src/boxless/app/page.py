"""The review page: Gradio around `boxless.app.desk`, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from boxless.data.images import IMAGE_SUFFIXES
from boxless.errors import BoxlessError, ConfigError, MissingExtraError
from boxless.formats import FORMATS

if TYPE_CHECKING:
    from boxless.app.desk import Desk

LOCAL: Final = ("127.0.0.1", "localhost")  # addresses that only this machine reaches
_SOURCES = b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none'"  # as Gradio needs
_HERE = Path(__file__).parent
_FONTS = ("system-ui", "sans-serif")  # of the system: a page without a network must not ask for one
_OF_MAP = "part of the map’s maximum"
_SEES = {True: "as calibrated on images of val", False: "this run was not calibrated for that"}
_DIRECT: Final = {"queue": False, "api_visibility": "private"}  # Gradio's queue keeps statistics of every event
_CLOSED: Final = {  # what the environment or a new release must not open
    "share": False,
    "show_error": False,
    "allowed_paths": [],
    "footer_links": [],
    "run_history": False,
    "enable_monitoring": False,
    "mcp_server": False,
    "ssr_mode": False,
    "pwa": False,
}
_LEGIBLE: Final = {  # Gradio's own greys are too light to read
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_300",
    "block_info_text_color": "*neutral_600",
    "block_info_text_color_dark": "*neutral_300",
}
_STYLE = "footer { display: none !important; } .gradio-container { max-width: 100rem !important; margin: 0 auto; }"


def serve(desk: Desk, *, host: str, port: int | None, max_mb: int, opens: bool) -> tuple[Any, str]:
    """Start the page's server in a thread of its own.

    Args:
        desk: What the page shows.
        host: The address that it listens on.
        port: None takes a free one.
        max_mb: Refuse larger uploads.
        opens: Whether to open the page in a browser.

    Returns:
        Gradio's ``Blocks``, which has ``close()``, and the page's address.

    Raises:
        MissingExtraError: Gradio is not installed.
        ConfigError: The host or port cannot be had.
    """
    gradio = load_gradio()
    page = build(desk)
    look = gradio.themes.Default(font=_FONTS, font_mono=("ui-monospace", "monospace")).set(**_LEGIBLE)
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            inbrowser=opens,
            app_kwargs={"middleware": _guards(host)},
            prevent_thread_lock=True,
            quiet=True,
            max_file_size=max_mb * 1024**2,
            theme=look,
            css=_STYLE,
            **_CLOSED,
        )
    except (OSError, ValueError) as error:  # a port that is taken; or a proxy that stands before this very machine
        page.close(verbose=False)
        raise ConfigError(
            f"{host}, port {port or 'any'}: cannot listen there ({error}); choose another --port."
        ) from error
    return page, str(address)


def build(desk: Desk) -> Any:
    """The page as Gradio's ``Blocks``, not yet served."""
    gradio = load_gradio()
    page = gradio.Blocks(title=_title(desk), analytics_enabled=False, fill_width=True, delete_cache=(3600, 3600))
    with page, gradio.Row(equal_height=False):
        with gradio.Column(scale=3, min_width=320):
            stage = _stage(gradio, desk)
        with gradio.Column(scale=1, min_width=280):
            _finding(gradio, desk, stage)
            _adding(gradio, desk, stage)
            _exporting(gradio, desk)
    return page


def _guards(host: str) -> list[Any]:
    """What every request passes through.

    Other sites can make a browser ask this machine, in their own name or in its name: both are refused. And this page
    can load nothing from elsewhere.
    """
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import PlainTextResponse

    def contained(app: Any) -> Callable[[Any, Any, Any], Any]:
        async def served(scope: Any, receive: Any, send: Any) -> None:
            async def sent(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (b"content-security-policy", _SOURCES)]
                await send(message)

            headers = dict(scope.get("headers", ()))
            origin = headers.get(b"origin")
            if origin is not None and origin.partition(b"://")[2] != headers.get(b"host"):
                await PlainTextResponse("asked by a page of another site", 403)(scope, receive, send)
            else:
                await app(scope, receive, sent)

        return served

    names = ["127.0.0.1", "localhost"] if host in LOCAL else ["*"]
    return [Middleware(TrustedHostMiddleware, allowed_hosts=names), Middleware(contained)]


def load_gradio() -> Any:
    """The package.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import gradio
    except ImportError as error:
        raise MissingExtraError("the review page", "gradio", "app") from error
    return gradio


def _title(desk: Desk) -> str:
    return f"{desk.places.root.name if desk.places.root else 'review'} – boxless"


def _stage(gradio: Any, desk: Desk) -> Any:
    """Where images are looked at: our own elements, since no component of Gradio's has boxes that can be moved."""
    text = {
        name: (_HERE / name).read_text(encoding="utf-8") for name in ("stage.html", "stage.css", "stage.js", "hands.js")
    }
    return gradio.HTML(
        html_template=text["stage.html"],
        css_template=text["stage.css"],
        js_on_load=text["stage.js"] + text["hands.js"],
        apply_default_css=False,
        server_functions=[_server(each) for each in (desk.begin, desk.look, desk.decide, desk.undo, desk.progress)],
    )


def _server(ask: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function, since Gradio marks what may be asked for, and a method takes no mark."""

    def answer(request: Any = None) -> Any:
        return ask(request)

    answer.__name__ = f"ask_{ask.__name__}"
    return answer


def _finding(gradio: Any, desk: Desk, stage: Any) -> None:
    """How boxes are found; each change is seen at once."""
    own, calibrated = desk.engine.threshold, bool(desk.engine.presence)
    usual = "each map’s own (Otsu)" if own == "otsu" else f"{own:.2f}"
    with gradio.Accordion("Finding boxes"):
        threshold = gradio.Slider(0, 0.99, 0.4 if own == "otsu" else own, step=0.01, label="Threshold", info=_OF_MAP)
        own_threshold = gradio.Checkbox(True, label=f"As trained: {usual}")
        multi = gradio.Checkbox(False, label="Several objects in an image")
        with gradio.Group(visible=False) as several:
            label_score = gradio.Slider(0, 1, 0.5, step=0.01, label="Other classes, from this probability")
            nms = gradio.Slider(0, 1, 0.5, step=0.01, label="Overlap (IoU) of two boxes of a class, at most")
            min_area = gradio.Slider(0, 10, 0.1, step=0.1, label="Part of the image, in percent, at least")
        abstain = gradio.Checkbox(
            False, label="No box where nothing is seen", interactive=calibrated, info=_SEES[calibrated]
        )
    controls = [own_threshold, threshold, multi, label_score, nms, min_area, abstain]
    count = itertools.count(1)

    def found_anew(
        own: bool, threshold: float, multi: bool, label_score: float, nms: float, area: float, abstain: bool
    ) -> Any:
        chosen = None if own else threshold
        try:
            desk.set_options(
                threshold=chosen, multi=multi, label_score=label_score, nms=nms, min_area=area / 100, abstain=abstain
            )
        except BoxlessError as error:
            return {"error": str(error)}
        return {"again": next(count)}

    at_once = {"show_progress": "hidden", "trigger_mode": "always_last", **_DIRECT}
    threshold.input(lambda *now: (False, found_anew(False, *now)), controls[1:], [own_threshold, stage], **at_once)
    multi.input(lambda on: gradio.update(visible=on), multi, several, show_progress="hidden", **_DIRECT)
    for control in controls:
        if control is not threshold:
            control.input(found_anew, controls, stage, **at_once)


def _adding(gradio: Any, desk: Desk, stage: Any) -> None:
    with gradio.Accordion("Add images"):
        drop = gradio.File(file_count="multiple", file_types=sorted(IMAGE_SUFFIXES), show_label=False, height=140)
        said = gradio.HTML(padding=True)

    def taken(files: list[str] | None) -> Any:
        try:
            names, refused = desk.take(Path(each) for each in files or ())
        except BoxlessError as error:
            names, refused = [], [str(error)]
        added = [f"{len(names)} added."] if names else []
        return None, _lines([*added, *refused]), {"show": names[0]} if names else gradio.skip()

    drop.upload(taken, drop, [drop, said, stage], show_progress="minimal", **_DIRECT)


def _exporting(gradio: Any, desk: Desk) -> None:
    with gradio.Accordion("Export what was accepted"):
        formats = gradio.CheckboxGroup(list(FORMATS), value=["coco"], show_label=False)
        button = gradio.Button("Export", variant="primary")
        said = gradio.HTML(padding=True)

    def exported(names: list[str]) -> str:
        try:
            done = desk.export(names)
        except BoxlessError as error:
            return _lines([str(error)])
        lines = [f"{done.images:,} images with {done.boxes:,} boxes are in:", *map(str, done.files.values())]
        if done.missing:
            lines.append(f"{done.missing:,} accepted images are not there any more, and are left out.")
        return _lines(lines)

    button.click(exported, formats, said, show_progress="minimal", **_DIRECT)


def _lines(texts: list[str]) -> str:
    return "".join(f"<p style='overflow-wrap: anywhere; margin: .2rem 0'>{escape(text)}</p>" for text in texts)
