"""The families of findings: a file each, whose `KINDS` the table takes up."""
