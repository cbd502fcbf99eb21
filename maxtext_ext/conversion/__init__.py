"""Conversion of any corpus to ArrayRecord shards, with every record accounted for."""
