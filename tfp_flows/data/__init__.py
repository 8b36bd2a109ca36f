"""What `fit` takes: arrays, datasets and files, checked, in order, as batches."""
