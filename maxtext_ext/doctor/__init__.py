"""An installation on a machine: what is there, what is wrong, and how to mend it."""
