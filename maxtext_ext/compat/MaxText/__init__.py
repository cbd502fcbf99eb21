"""`python3 -m MaxText.train` and `python3 -m MaxText.decode`, with speech."""
