"""An HTML page taken apart, for the tests of those that we write."""

import html.parser


class Page(html.parser.HTMLParser):
  """Elements, the text inside each, and whether every tag is closed."""

  VOID = frozenset({"meta", "line", "circle", "path", "rect"})

  def __init__(self, text: str):
    super().__init__()
    self.elements: list[tuple[str, dict[str, str | None]]] = []
    self.texts: list[tuple[tuple[str, ...], str]] = []
    self.open: list[tuple[str, ...]] = []  # tag and classes
    self.feed(text)
    self.close()
    assert not self.open

  def handle_starttag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))
    if tag not in self.VOID:
      self.open.append((tag, *(dict(attrs).get("class") or "").split()))

  def handle_endtag(self, tag):
    if tag not in self.VOID:
      assert self.open.pop()[0] == tag

  def handle_data(self, data):
    if data.strip():
      path = tuple(name for element in self.open for name in element)
      self.texts.append((path, " ".join(data.split())))

  def inside(self, *names: str) -> list[str]:
    return [text for path, text in self.texts if set(names) <= set(path)]
