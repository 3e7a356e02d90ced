"""What a visitor does on the page, for the browser tests and the benchmark of faults."""

from pathlib import Path

from playwright.sync_api import Page, expect

PATIENCE = 90_000  # milliseconds


def upload(page: Page, *files: Path) -> None:
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(files)
    expect(page.get_by_role("button", name="Choose another file")).to_be_visible(timeout=PATIENCE)


def analyse(page: Page) -> None:
    page.get_by_role("button", name="Analyse").click()


def choose_sample(page: Page, name: str) -> None:
    page.get_by_role("button", name="Try a sample").or_(
        page.get_by_role("radio", name="Try a sample")
    ).first.click()
    box = page.get_by_role("combobox", name="Sample")
    box.click()
    box.fill(name)
    page.get_by_role("option", name=name, exact=True).click()
