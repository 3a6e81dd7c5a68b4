"""Says which class each label of the annotations is: label maps, names, colours and values."""
