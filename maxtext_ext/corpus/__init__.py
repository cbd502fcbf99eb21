"""Inspection of a converted corpus: statistics, issues and the page that shows them."""
