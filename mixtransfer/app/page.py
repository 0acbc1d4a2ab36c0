"""The page itself, in gradio: where images are dropped, what is shown of the answers, and for whom."""

import tempfile
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from mixtransfer.app import html
from mixtransfer.app.answers import Answers, look
from mixtransfer.app.models import LOWEST_SCORE, Model
from mixtransfer.app.options import AppOptions
from mixtransfer.detection.thresholds import USUAL

BOTH = "Side by side"
KEPT = 3600  # seconds for which uploads and a closed tab's answers are kept


def build_page(models: list[Model], options: AppOptions) -> gr.Blocks:
    """The page for one or two models. Each browser tab has answers of its own; the models work for one at a time."""
    names = [model.name for model in models]
    two, detects = len(models) > 1, models[0].task == "detection"

    def answer(files: list[str] | None, which: str, own: bool, least: float, why: bool, progress=gr.Progress()):  # noqa: B008
        def tell(done: int, total: int) -> None:
            progress((done, total), desc="Looking at the images", unit="images")

        paths = [Path(file) for file in files or []]
        answers = look(paths, models, options.max_images, options.max_megabytes, tell)
        return None, *render(answers, which, None if own else least, why)

    def again(kept: tuple | None, which: str, own: bool, least: float, why: bool):
        return render(kept[0], which, None if own else least, why) if kept else (html.waiting(models), None)

    def render(answers: Answers, which: str, threshold: float | None, why: bool) -> tuple[str, tuple]:
        shown = [names.index(which)] if which in names else range(len(models))
        # Of the server's files; it goes when the tab gets other answers or is forgotten.
        folder = tempfile.TemporaryDirectory(dir=get_upload_folder())
        return html.show(answers, shown, threshold, Path(folder.name), why), (answers, folder)

    with gr.Blocks(title="mixtransfer", analytics_enabled=False, delete_cache=(600, KEPT)) as page:
        gr.HTML(html.heading(models))
        limits = f"Images: up to {options.max_images} at once, {options.max_megabytes} MB each"
        drop = gr.File(label=limits, file_count="multiple", height=150, elem_id="drop")
        explains = any(model.explain for model in models)
        with gr.Row(visible=two or detects or explains):
            which = gr.Radio([BOTH, *names], value=BOTH, label="Show", visible=two, min_width=280, elem_id="which")
            own = gr.Checkbox(
                options.threshold is None, label="Each class's boxes from a score of its own", visible=detects,
                min_width=280, elem_id="own",
            )  # fmt: skip
            least = gr.Slider(
                LOWEST_SCORE, 0.95, options.threshold or USUAL, step=0.05, label="Boxes from a score of",
                visible=detects, min_width=280, elem_id="threshold",
            )  # fmt: skip
            why = gr.Checkbox(
                False, label="Show where each class was read from", visible=explains, min_width=280, elem_id="why",
            )  # fmt: skip
        shown = gr.HTML(html.waiting(models), elem_id="answers")
        kept = gr.State(time_to_live=KEPT)
        quiet: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last", "api_visibility": "private"}
        drop.upload(
            answer, [drop, which, own, least, why], [drop, shown, kept], concurrency_limit=1, show_progress_on=shown,
            api_visibility="private",
        )  # fmt: skip
        for control in (which, own, least, why):
            control.change(again, [kept, which, own, least, why], [shown, kept], **quiet)
        least.input(lambda: False, None, own, **quiet)
    return page.queue(max_size=32)
