"""Files, independent of their content: access rules, URLs, locks and atomic writes."""
