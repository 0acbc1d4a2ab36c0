"""The page from a person's side, in headless Chromium."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest
from browsing import open_browser


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


def test_dropping_switching_and_keeping(server, browser, images, bad_files, tmp_path):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    asked, alerts = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page.goto(server.url)
    drop = page.locator("#drop input[type=file]")
    drop.set_input_files([*images, *bad_files])

    page.wait_for_selector("#answers article")
    assert page.locator("#answers article").count() == 3
    assert page.locator("#answers article section").count() == 6, "two models side by side"
    assert page.locator("#answers [role=alert]").count() == 3
    assert page.get_by_text("notes.txt is not an image").is_visible()
    assert page.locator(".mt-class").filter(has_text="<script>alert(1)</script>").count() == 6, "as text"
    assert page.locator(".mt-class").filter(has_text="${1 + 1} {{2 + 2}}").count() == 6, "not as a template"
    assert page.locator(".mt-ms").first.inner_text().endswith(" ms")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing is wider than a phone"

    page.get_by_label("second").check()
    page.wait_for_function("document.querySelectorAll('#answers article section').length == 3")
    assert page.locator("#answers article section img").count() == 0
    page.get_by_label("Show where each class was read from").check()
    page.wait_for_function("document.querySelectorAll('#answers article section img').length == 3")

    with page.expect_download() as waiting:
        page.get_by_role("link", name="JSON").click()
    waiting.value.save_as(tmp_path / "answers.json")
    kept = json.loads((tmp_path / "answers.json").read_text())
    assert [one["image"] for one in kept["images"]] == [image.name for image in images]
    assert set(kept["images"][0]["models"]) == {"first", "second"}

    drop.set_input_files([images[0]] * 50)
    page.get_by_text("50 files are too many at once").wait_for()
    assert page.locator("#answers article").count() == 24

    drop.set_input_files({"name": "big.jpg", "mimeType": "image/jpeg", "buffer": b"x" * 5_000_000})
    page.get_by_text("exceed the maximum allowed size").first.wait_for()
    page.reload()
    drop.set_input_files([images[1]])
    page.wait_for_function("document.querySelectorAll('#answers article').length == 1")
    assert page.get_by_role("heading", name="photo1.jpg").is_visible(), "it goes on"

    assert not alerts
    assert {url for url in asked if not url.startswith((server.url, "data:", "blob:"))} == set()


SITE = """
<title>cat pictures</title>
<iframe src="PAGE"></iframe> <img src="PAGEtheme.css"> <script src="PAGEconfig"></script>
<form method="post" enctype="multipart/form-data" action="PAGEgradio_api/upload"></form>
<script>
const body = new FormData();
body.append("files", new Blob(["spam"]), "spam.txt");
fetch("PAGEgradio_api/upload", {method: "POST", mode: "no-cors", body});
fetch("PAGEgradio_api/upload", {method: "POST", body, headers: {"X-Preflight": "1"}}).catch(() => {});
fetch("PAGEconfig").catch(() => {});
new EventSource("PAGEgradio_api/heartbeat/spam");
</script>
"""


@pytest.fixture
def site(server) -> Iterator[int]:
    """The port of another site on this machine."""

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(SITE.replace("PAGE", server.url).encode() if self.path == "/" else b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        yield other.server_port
        other.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1"])
def test_another_site_gets_nothing(server, browser, site, name):
    """It tries all that a page can do to another."""
    page = browser.new_page()
    asked, answered = set(), []
    page.on("request", lambda request: asked.add(request.url))
    page.on("response", lambda response: answered.append((response.url, response.status)))
    page.goto(f"http://{name}:{site}/")
    page.wait_for_load_state("networkidle")
    with page.expect_navigation():
        page.evaluate("document.forms[0].submit()")
    tried = ("", "theme.css", "config", "gradio_api/upload", "gradio_api/heartbeat/spam")
    assert asked >= {server.url + path for path in tried}
    assert {status for url, status in answered if url.startswith(server.url)} == {403}, (
        "or the browser has not shown it"
    )


def test_a_name_that_leads_here_is_not_the_page(server, browser):
    """DNS rebinding: the site has its own name lead to this machine."""
    page = browser.new_page()
    answer = page.goto(server.url.replace("127.0.0.1", "rebound.example"))
    assert answer.status == 403
    assert page.get_by_text("This page does not answer to rebound.example").is_visible()
