import jinja2
import pytest

from maxtext_ext.pages.render import direction, format_duration, render


def page(tmp_path, content, **values):
  path = tmp_path / "page.html.jinja"
  path.write_text('{% extends "base.html.jinja" %}{% block content %}' + content + "{% endblock %}")
  return render(path, title="T", **values)


def test_values_are_escaped_and_counted(tmp_path):
  text = page(tmp_path, "<p>{{ text }} {{ 12345|count }} {{ 0.123456|fact }}</p>", text="<b>&'\"")
  assert "<p>&lt;b&gt;&amp;&#39;&#34; 12,345 0.1235</p>" in text
  assert "<title>T</title>" in text


def test_nothing_may_be_fetched_or_run(tmp_path):
  assert "default-src 'none'; style-src 'unsafe-inline'\"" in page(tmp_path, "")


def test_a_missing_value_is_an_error(tmp_path):
  with pytest.raises(jinja2.UndefinedError, match="absent"):
    page(tmp_path, "{{ absent }}")


@pytest.mark.parametrize(
  ("seconds", "expected"),
  [
    (9, "9.0 s"),
    (90, "1.5 min"),
    (3723, "1 h 2 min"),
    (7199.9, "2 h 0 min"),
    (4e6, "1,111 h 7 min"),
  ],
)
def test_format_duration(seconds, expected):
  assert format_duration(float(seconds)) == expected


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("hello", "ltr"),
    ("שלום hello", "rtl"),
    ("مرحبا", "rtl"),
    ("hello שלום", "ltr"),
    ("123 ... שלום", "rtl"),
    ("42", "ltr"),
    ("", "ltr"),
  ],
)
def test_direction(text, expected):
  assert direction(text) == expected
