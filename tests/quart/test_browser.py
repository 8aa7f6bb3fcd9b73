"""The example's pages in a real browser: a text goes in, its progress is watched live, its words come out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.quart.serving import EXAMPLES, served

pytestmark = pytest.mark.slow

PATIENCE_S = 30
QUIETLY = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """A Chromium with nothing in it."""
    options = webdriver.ChromeOptions()
    for argument in (*QUIETLY, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options, service)
    yield driver
    driver.quit()


def test_a_job_is_followed_live(browser: webdriver.Chrome) -> None:
    """The bar moves while the job runs; what the user wrote is text, not markup; nothing is wrong in the console."""
    text = "\n".join(["<b>one</b> two two"] * 1600)  # they take 4 s
    with served(EXAMPLES / "quart_app", {}) as (url, _):
        browser.get(url)
        area = browser.find_element(By.NAME, "text")
        browser.execute_script("arguments[0].value = arguments[1]", area, text)
        browser.find_element(By.TAG_NAME, "button").click()
        wait = WebDriverWait(browser, PATIENCE_S, poll_frequency=0.02)

        seen = set()

        def is_done(driver: webdriver.Chrome) -> bool:
            """Whether it has finished; in that order, so that the bar is seen as it is then."""
            is_finished = driver.find_element(By.ID, "text").text.startswith("finished")
            seen.add(driver.find_element(By.ID, "bar").get_property("value"))
            return is_finished

        wait.until(is_done)
        wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "#words li"))

        listed = [one.text for one in browser.find_elements(By.CSS_SELECTOR, "#words li")]
        assert listed == ["two: 3200", "<b>one</b>: 1600"]
        assert not browser.find_elements(By.CSS_SELECTOR, "#words b")
        assert any(0 < float(str(value)) < 1 for value in seen), seen
        assert 1 in seen
        errors = [one for one in browser.get_log("browser") if one["level"] == "SEVERE"]
        assert [one for one in errors if "favicon" not in one["message"]] == []
