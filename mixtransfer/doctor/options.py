"""The options of `doctor`."""

from dataclasses import dataclass
from typing import Literal

from mixtransfer.data import FolderLayout
from mixtransfer.data.detection import LayoutName, Resize


@dataclass
class DoctorOptions:
    """Look for what spoils a training: broken files, duplicates, test images in the training part, odd classes, bad
    boxes, and with a run, labels that it disagrees with.

    Nothing of the data is changed. The exit code is 1 if something should be mended before training.

    Args:
        data: A dataset as `classify train` or `detect train` takes it.
        run: A run trained on this data (or of its classes): labels that it disagrees with are shown.
        task: classify or detect; auto goes by the data.
        group_by: See `classify train`: says how many groups there are, and which are torn apart.
        layout: How the data is laid out, where it could be read in two ways; see `classify train` and `detect train`.
        output: Folder of report.html and doctor.json; by default runs/NAME-doctor. What was read of each image is kept
            there, so that the next call, or the same after an interrupt, is quick.
        fix_list: A CSV file to write, with the path of each image to drop and the reason.
        preview: Write preview.html too: the first batches of a training with the defaults, as its
            network would see them.
        data_root: Where named datasets live; nothing is downloaded that is there.
        image_size: Side in pixels that a detector would be trained at, for the fit of its anchors; by default the
            run's, or 320.
        resize: How it would be shown images: warp or letterbox; by default as the run is, or warp.
        json: Print all findings as JSON.
    """

    data: str
    run: str | None = None
    task: Literal["auto", "classify", "detect"] = "auto"
    group_by: str | None = None
    layout: LayoutName | FolderLayout = "auto"
    output: str | None = None
    fix_list: str | None = None
    preview: bool = False
    data_root: str = "data"
    image_size: int | None = None
    resize: Resize | None = None
    json: bool = False
