"""Escaping of foreign text for terminals and logs."""

# Invisible characters that writing needs: joiners (Persian, Hindi, emoji), and the direction marks
# of Hebrew and Arabic, which turn no other text around.
_INVISIBLE = frozenset("\u200c\u200d\u200e\u200f\u061c")
# Arabic and Syriac signs that enclose what follows: visible, though Unicode calls them format.
_SIGNS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2")
# Spaces of other widths: Python calls them not printable, so that `repr` shows them.
_SPACES = frozenset("\u00a0\u1680\u202f\u205f\u3000") | {chr(i) for i in range(0x2000, 0x200B)}
_KEPT = _INVISIBLE | _SIGNS | _SPACES


def printable(text: str) -> str:
  r"""Escapes every character that controls a terminal, or hides or reorders others.

  Control characters (line breaks too, so that the result is one line), escape sequences,
  bidirectional embeddings, overrides and isolates, lone surrogates and characters without a meaning
  are written as in Python: "\x1b[2J" becomes r"\x1b[2J". Letters of all scripts stay.
  """
  if text.isprintable():
    return text
  return "".join(
    char if char.isprintable() or char in _KEPT else char.encode("unicode_escape").decode()
    for char in text
  )
