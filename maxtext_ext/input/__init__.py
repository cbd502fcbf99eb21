"""From records to packed batches: windows of sound, rows of text, and the iterators over both."""
