"""Scoring of hypotheses: error rates, their intervals and the report."""
