"""Pages in a browser."""

import pytest


@pytest.fixture
def opened(browser):
    """Opens pages from disk, offline; fails on a message in the console and on a failed request."""
    complaints, contexts = [], []

    def open_page(path, **options):
        contexts.append(browser.new_context(offline=True, **options))
        shown = contexts[-1].new_page()
        shown.on("console", lambda message: complaints.append(message.text))
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.on("requestfailed", lambda request: complaints.append(request.url))
        shown.goto(path.as_uri())
        return shown

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
