"""Pages, read again: as XML, which the generated ones are but for `<meta>`, and as a browser's tokenizer does."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree


def parse(path) -> ElementTree.Element:
    return ElementTree.fromstring(re.sub(r"<meta [^>]*>", "", path.read_text("utf-8")).removeprefix("<!DOCTYPE html>"))


def words(element) -> str:
    return " ".join("".join(element.itertext()).split())


def classes(element) -> list[str]:
    return element.get("class", "").split()


class Tokens(HTMLParser):
    """Elements and attributes, and all text."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data
