"""The options of `app`."""

from dataclasses import dataclass


@dataclass
class AppOptions:
    """Open a local web page: drop images on it and see what one or two models say of them.

    The page uses no network; only this machine can reach it, unless --host says otherwise.

    Args:
        runs: A run or an exported file, or two of one task to see side by side.
        threshold: The score from which a detector's boxes are shown at first; the page has a slider for it. By default
            each class has its own, chosen on validation images.
        max_images: Images that the page takes at once.
        max_megabytes: The largest file that it takes.
        host: Address to listen on. 0.0.0.0 lets everyone who can reach this machine use the page, without a password.
        allow_host: Further names that the page has in browsers, with commas between: that of a reverse proxy, or
            localhost:9000 for the near end of a tunnel. Under any other name than this machine's own it refuses.
        port: Port to listen on; by default the first free one from 7860.
        browser: Open the page in this machine's browser.
        device: cpu, cuda or cuda:1; auto takes a GPU where there is one.
    """

    runs: list[str]
    threshold: float | None = None
    max_images: int = 24
    max_megabytes: int = 50
    host: str = "127.0.0.1"
    allow_host: str | None = None
    port: int | None = None
    browser: bool = True
    device: str = "auto"
