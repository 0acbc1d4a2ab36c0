"""`tune`: settings of a training chosen by trials on folds, and whether they beat the defaults."""
