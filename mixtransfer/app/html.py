"""The answers as HTML; everything that a person named is escaped, and images are inside it."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from mixtransfer.app.answers import TOP, Answers, Looked
from mixtransfer.app.downloads import as_csv, as_json, as_zip, draw
from mixtransfer.app.models import Model

MOST_LISTED = 10  # boxes below an image; all are drawn

_TEMPLATES = Environment(
    loader=PackageLoader("mixtransfer.app", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


def heading(models: Sequence[Model]) -> str:
    """What the page is, and which models answer."""
    return _TEMPLATES.get_template("heading.html.jinja").render(models=models, task=models[0].task)


def waiting(models: Sequence[Model]) -> str:
    """What stands in the answers' place before there are any."""
    words = {"classification": "the most probable classes are shown.", "detection": "what is found is framed."}
    return _TEMPLATES.get_template("answers.html.jinja").render(answers=None, waiting=words[models[0].task])


def show(answers: Answers, shown: Sequence[int], threshold: float | None, folder: Path, explained: bool = False) -> str:
    """The answers of the models with the numbers ``shown``, side by side, and links to keep all answers.

    Args:
        threshold: The score that a detector's boxes must have; None: those of their classes.
        folder: Gets the drawn images as ``boxes.zip``; the server must give it out.
        explained: Whether to show where the models have read their answers from.
    """
    models = answers.models
    task = models[0].task
    drawn = draw(answers, threshold) if task == "detection" else {}
    links = []
    if answers.images:
        links = [
            {"text": "CSV", "name": "answers.csv", "href": _data(as_csv(answers, threshold).encode(), "text/csv")},
            {"text": "JSON", "name": "answers.json", "href": _data(as_json(answers, threshold).encode(), "text/json")},
        ]
    if drawn:
        (folder / "boxes.zip").write_bytes(as_zip(drawn))
        place = (folder / "boxes.zip").as_posix()
        links.append({"text": "images", "name": "boxes.zip", "href": f"gradio_api/file={place}"})
    return _TEMPLATES.get_template("answers.html.jinja").render(
        answers=answers,
        left_out=answers.left_out,
        task=task,
        threshold=threshold if threshold is None else f"{threshold:g}",
        columns=[_column(answers, number, threshold) for number in shown] if answers.images else [],
        agreement=_agreement(answers) if len(shown) > 1 and task == "classification" else "",
        links=links,
        images=[_image(image, models, shown, threshold, drawn, explained) for image in answers.images],
    )


def _column(answers: Answers, number: int, threshold: float | None) -> dict[str, str]:
    """What is said of one model above the images."""
    model, count = answers.models[number], len(answers.images)
    speed = f"{answers.milliseconds(number):.1f} ms an image" + (f" (median of {count})" if count > 1 else "")
    column = {"name": model.name, "network": model.network, "speed": speed}
    if model.task == "detection":
        boxes = sum(len(model.shown(image.answers[number].seen, threshold).boxes) for image in answers.images)
        column["found"] = "1 box" if boxes == 1 else f"{boxes} boxes"
    return column


def _agreement(answers: Answers) -> str:
    same = sum(1 for image in answers.images if not _differ(image))
    several = any(answer.seen.thresholds is not None for image in answers.images for answer in image.answers)
    return f"Both give the same {'labels' if several else 'class'} to {same} of {len(answers.images)} images."


def _differ(image: Looked) -> bool:
    return len({frozenset(answer.seen.labels) for answer in image.answers}) > 1


def _image(
    image: Looked,
    models: Sequence[Model],
    shown: Sequence[int],
    threshold: float | None,
    drawn: dict[tuple[str, str], bytes],
    explained: bool,
) -> dict[str, Any]:
    detects = models[0].task == "detection"
    entries, said = [], []
    for number in shown:
        model, answer = models[number], image.answers[number]
        entry: dict[str, Any] = {"model": model.name, "ms": f"{answer.milliseconds:.1f}"}
        if detects:
            found = model.shown(answer.seen, threshold)
            named = [(model.classes[i], float(score)) for i, score in zip(found.labels, found.scores, strict=True)]
            entry["src"] = _data(drawn[model.name, image.name], "image/jpeg")
        else:
            named, said = answer.seen.shown(TOP), answer.seen.labels
            entry["none"] = not said
            entry["unknown"] = answer.seen.unknown
        if explained:
            picture = image.explained(number, model, threshold)
            entry["map"] = _data(picture, "image/jpeg") if picture else ""
        entry["bars"] = [
            {"name": name, "percent": f"{100 * p:.1f}", "said": name in said} for name, p in named[:MOST_LISTED]
        ]
        entry["more"] = len(named[MOST_LISTED:])
        entries.append(entry)
    if detects:
        return {"name": image.name, "answers": entries}
    differs = len(shown) > 1 and _differ(image)
    return {"name": image.name, "answers": entries, "src": _data(image.preview, "image/jpeg"), "differs": differs}


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
