"""From a system's sound to what a person is given: the file, its recipe, its report, its picture."""
