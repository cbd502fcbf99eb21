"""Records: one utterance each, stored as tf.train.Example bytes in ArrayRecord shards."""
