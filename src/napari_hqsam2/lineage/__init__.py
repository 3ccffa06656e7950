"""Objects through time: sizes and places, divisions, and the files of other tools."""
