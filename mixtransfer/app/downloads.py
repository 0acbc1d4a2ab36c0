"""The answers as files to keep: CSV, JSON, and a detector's drawn images."""

import csv
import io
import json
import re
import zipfile

from mixtransfer.app.answers import TOP, Answers
from mixtransfer.app.models import Model
from mixtransfer.detection.scores import Detections


def as_json(answers: Answers, threshold: float | None) -> str:
    """One object an image, with what `predict --json` gives for each model, and its milliseconds."""
    images = [
        {
            "image": image.name,
            "models": {
                model.name: {**_described(answer.seen, model, threshold), "ms": round(answer.milliseconds, 2)}
                for model, answer in zip(answers.models, image.answers, strict=True)
            },
        }
        for image in answers.images
    ]
    return json.dumps({"images": images, "left_out": answers.left_out}, indent=2, ensure_ascii=False) + "\n"


def as_csv(answers: Answers, threshold: float | None) -> str:
    """One row an image, model and class, or object found."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    detects = answers.models[0].task == "detection"
    columns = ("class", "score", "x1", "y1", "x2", "y2") if detects else ("rank", "class", "probability")
    several = not detects and any(one.seen.thresholds is not None for image in answers.images for one in image.answers)
    columns = (*columns, "label") if several else columns
    writer.writerow(["image", "model", *columns, "ms"])
    for image in answers.images:
        for model, answer in zip(answers.models, image.answers, strict=True):
            described = _described(answer.seen, model, threshold)
            if detects:
                rows = [(one["class"], one["score"], *one["box"]) for one in described["objects"]]
            else:
                rows = [(i + 1, one["class"], one["probability"]) for i, one in enumerate(described["top"])]
                if several:
                    rows = [(*row, int(row[1] in described["labels"])) for row in rows]
            writer.writerows([image.name, model.name, *row, f"{answer.milliseconds:.2f}"] for row in rows)
    return text.getvalue()


def draw(answers: Answers, threshold: float | None) -> dict[tuple[str, str], bytes]:
    """JPEG files of the previews with boxes, by names of model and image."""
    return {
        (model.name, image.name): image.drawn(number, model, threshold)
        for number, model in enumerate(answers.models)
        for image in answers.images
    }


def as_zip(drawn: dict[tuple[str, str], bytes]) -> bytes:
    """What ``draw`` gives, a folder a model."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        for (model, image), content in drawn.items():
            suffix = "" if image.lower().endswith((".jpg", ".jpeg")) else ".jpg"
            archive.writestr(f"{_plain(model)}/{_plain(image)}{suffix}", content)
    return data.getvalue()


def _plain(name: str) -> str:
    """A name that stays in its folder, wherever it is unpacked."""
    return re.sub(r'[/\\:*?"<>|]', "-", name).lstrip(".-") or "unnamed"


def _described(seen, model: Model, threshold: float | None) -> dict:
    if isinstance(seen, Detections):
        found = model.shown(seen, threshold)
        rows = zip(found.labels, found.scores, found.boxes, strict=True)
        return {
            "objects": [
                {
                    "class": model.classes[label],
                    "score": round(float(score), 4),
                    "box": [round(float(x), 1) for x in box],
                }
                for label, score, box in rows
            ]
        }
    described = seen.to_dict(TOP)
    for one in described["top"]:
        one["probability"] = round(one["probability"], 6)
    if "known" in described:
        described["known"] = round(described["known"], 4)
    return described
