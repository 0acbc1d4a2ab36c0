"""`app` as the command line runs it: open the models, serve the page until Ctrl-C, leave nothing behind."""

import contextlib
import os
import sys
import tempfile
import time
import webbrowser
from pathlib import Path

from mixtransfer.app.hosts import LOOPBACK, Hosts, plain
from mixtransfer.app.models import LOWEST_SCORE, open_models
from mixtransfer.app.options import AppOptions
from mixtransfer.common.ranges import AT_LEAST_1, check_ranges
from mixtransfer.errors import UserError


def app(options: AppOptions) -> int:
    """Serve the page.

    Raises:
        UserError: An option or a run cannot be used, gradio is missing, or the port is taken.
    """
    check_ranges(options, threshold=(LOWEST_SCORE, 0.95), max_images=AT_LEAST_1, max_megabytes=AT_LEAST_1)
    hosts = Hosts(options.host, options.allow_host)
    with tempfile.TemporaryDirectory(prefix="mixtransfer-app-") as folder:
        _prepare_gradio(folder, options.host)
        models = open_models(options.runs, options.device)
        from mixtransfer.app.page import build_page

        page = build_page(models, options)
        url = launch(page, options, hosts)
        try:
            print(f"The page is at {url}  (Ctrl-C stops it)", flush=True)
            if plain(options.host) not in LOOPBACK:
                print(f"Everyone who can reach {options.host} can use it: there is no password.", file=sys.stderr)
            if options.browser and _has_screen():
                webbrowser.open(url)
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            print("\nStopped.")
        finally:
            page.close(verbose=False)
    return 0


def launch(page, options: AppOptions, hosts: Hosts) -> str:
    """Start the server in a thread of its own; returns the page's address.

    Raises:
        UserError: The address or port cannot be had.
    """
    from gradio.utils import get_upload_folder

    from mixtransfer.app.guard import Guard
    from mixtransfer.app.kept import RECEIVED, Kept

    kept = Kept.for_limits(Path(get_upload_folder()), options.max_images, options.max_megabytes)

    @contextlib.asynccontextmanager
    async def guarded(server):
        """Before the first request is taken. (A middleware that gradio is given would stand behind its own.)"""
        server.middleware_stack = Guard(server.middleware_stack, hosts, kept)
        yield

    address = plain(options.host)
    try:
        _, url, _ = page.launch(
            server_name=f"[{address}]" if ":" in address else address,
            server_port=options.port,
            # The page itself answers a file that is too large with a sentence; from here on it is not even received.
            max_file_size=f"{RECEIVED * options.max_megabytes}mb",
            app_kwargs={"lifespan": guarded},
            theme=_theme(),
            css_paths=Path(__file__).with_name("page.css"),
            prevent_thread_lock=True,
            quiet=True,
            # Nothing beyond the page itself: no tunnel, no pages about it, no history, no folder of this machine.
            share=False,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            state_session_capacity=100,
        )
    except OSError as error:
        if options.port:
            raise UserError(
                f"Port {options.port} of {options.host} cannot be had: choose another --port, or leave it out."
            ) from error
        raise UserError(f"{options.host} has no free port to listen on: check --host, or choose a --port.") from error
    return url.replace("//[::]", "//[::1]")


def _prepare_gradio(folder: str, host: str) -> None:
    """Settings that gradio reads from the environment when it is imported.

    Args:
        folder: A private one, where it is to keep uploaded files.
        host: What it will listen on.
    """
    # What is set for gradio's other programs may open more ports, give out folders or let other sites in.
    for name in list(os.environ):
        if name.startswith("GRADIO_") and name != "GRADIO_ROOT_PATH":  # of a reverse proxy
            del os.environ[name]
    os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED="False")
    # It asks its own address whether it is there, which must not go through a proxy.
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), *LOOPBACK, plain(host))))
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UserError("The page needs gradio: pip install 'mixtransfer[app]'.") from error


def _theme():
    """Fonts of the reader's system: gradio's own theme would fetch them from a server."""
    import gradio as gr

    return gr.themes.Default(
        primary_hue="blue",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    )


def _has_screen() -> bool:
    """Whether a browser would be a window; otherwise one that runs in the terminal might take it over."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
