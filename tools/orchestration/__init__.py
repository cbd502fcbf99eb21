"""Runs on other machines, driven from one that has nothing but Python 3.9 and its library."""
